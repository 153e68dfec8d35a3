"""What a check found."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "wrong"]
WIDTH = 100


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the examination."""

    subject: str  # what was looked at
    state: State
    found: str  # what there is, and what is needed
    remedy: str = ""  # what to do about it; empty where all is well
    needed: bool = True  # False: something works less well without it, and the rest does without it

    def __str__(self) -> str:
        remark = "" if self.state == "ok" or self.needed else " (not needed)"
        said = [f"{self.found}{remark}", f"Remedy: {self.remedy}" if self.remedy else ""]
        text = [line for words in said for line in textwrap.wrap(words, WIDTH - 26, break_on_hyphens=False)]
        gap = "\n" + " " * 26
        return f"{self.state:8} {self.subject:16} {gap.join(text)}"


def error_line(error: BaseException) -> str:
    """An error in one line that is not too long."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
