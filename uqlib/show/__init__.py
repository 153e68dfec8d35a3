"""What a reader sees: figures (`plots`) and structures in three dimensions (`viewers`, on the engine in `viewer`).

Takes arrays and structures only, and knows nothing of models. A newcomer adds here a kind of figure.
"""
