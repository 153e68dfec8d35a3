"""Whether a machine can do what the book asks of it: `python -m uqlib doctor`.

May import everything below `study`, but only within the check that needs it: each line is to be printed where what the
next ones check is missing altogether. A newcomer adds a function that returns a `Finding`, and a line in `examine`.
"""

from .examination import examine
from .findings import Finding

__all__ = ["Finding", "examine"]
