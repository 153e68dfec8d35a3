"""What only the book's chapters need.

May import everything below the command line; nothing of the library may import it. A newcomer adds here what several
chapters use and no user of the library would miss.
"""

from .claims import Claim, claim
from .exercises import check, hint

__all__ = ["Claim", "check", "claim", "hint"]
