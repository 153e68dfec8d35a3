"""What a reader sees: figures (`plots`) and structures in three dimensions (`viewers`, on the engine in `viewer`).

Takes arrays and structures only, and knows nothing of models. A newcomer adds here a kind of figure.

Training and predicting need nothing of what it draws with: that comes with `pip install "uqlib[show]"`.
"""

REMEDY = 'figures and viewers need it, which the library alone does not bring; pip install "uqlib[show]"'

try:
    import matplotlib  # noqa: F401 - every module of this room draws with it
except ImportError as error:
    raise ImportError(f"matplotlib is not installed: {REMEDY}", name="matplotlib") from error
