"""What a reader has to say to whoever asked it, short of an error."""

from __future__ import annotations

import warnings


class DataWarning(UserWarning):
    """Something about data that one should know: a key that was guessed, a file skipped, a label that is none.

    A category of its own, so that it can be silenced, or made an error: `warnings.simplefilter("error", DataWarning)`.
    """


def say(text: str, *, depth: int = 1) -> None:
    """One line as a `DataWarning`, laid at the door of who called the caller, or of one `depth` further out."""
    warnings.warn(text, DataWarning, stacklevel=2 + depth)
