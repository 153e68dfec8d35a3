"""Atoms in: from files, arrays and our own data sets to the batches that networks read, and what structures look like.

May import nothing of the library but `common`. A newcomer adds here a format (a reader) or a data set (a loader).
"""
