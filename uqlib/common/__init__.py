"""What any room may need and none owns: files that are written whole or not at all, workers that end with their parent.

May import nothing of the library.
"""
