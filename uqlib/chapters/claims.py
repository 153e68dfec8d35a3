"""Sentences of a chapter that rest on a number, each checked where it stands, and never in the reader's way.

    claim("The barrier lies above every training energy", barrier - energies.max(), above=0.0, unit="eV")

A chapter computes its numbers on the reader's machine, and another processor or another torch may find others. So a
claim does not stop anything: where it holds it is silent, and where it falls short the page says so, with the value
that was found here.
"""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

RECORD_FILE = "UQLIB_CLAIMS"
"""Environment variable with a file to which every claim is added, one line of JSON each; the book's build sets it."""

Often = Literal["always", "mostly", "here"]
PROMISES = {
    "always": "with every seed",
    "mostly": "with most seeds, not with all",
    "here": "of this one training alone",
}

STYLE = "border-left:3px solid #e69f00;padding-left:.6em;margin:.3em 0;font-size:.9em"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim, and what was found."""

    words: str  # the sentence, or the part of it that is checked
    value: float | str | None  # of several values the one nearest to falling short, or beyond it; None: there is none
    holds: bool
    above: float | None = None  # exclusive
    below: float | None = None  # exclusive
    equals: float | str | None = None
    unit: str = ""
    often: str = "always"
    fault: str = ""  # why there is no value to compare

    @property
    def found(self) -> str:
        """The value in words."""
        return "no value" if self.fault else _shown(self.value, self.unit)

    @property
    def expected(self) -> str:
        """The bounds in words."""
        if self.equals is not None:
            return f"expected {_shown(self.equals, self.unit)}"
        if self.above is not None and self.below is not None:
            return f"expected between {_shown(self.above, '')} and {_shown(self.below, self.unit)}"
        if self.above is not None:
            return f"expected above {_shown(self.above, self.unit)}"
        return f"expected below {_shown(self.below, self.unit)}"

    def __str__(self) -> str:
        if self.fault:
            return f"Could not be checked here ({self.fault}): “{self.words}”"
        remark = "" if self.often == "always" else f"; it is said {PROMISES.get(self.often, self.often)}"
        return f"Here: {self.found}, {self.expected}: “{self.words}”{remark}"


RECORD: list[Claim] = []
"""All claims of this session, in their order."""


def claim(
    words: str,
    value: Any,
    *,
    above: float | None = None,
    below: float | None = None,
    equals: Any = None,
    unit: str = "",
    often: Often = "always",
) -> None:
    """Compare a value with what a sentence says of it. Says so on the page where it falls short, and never raises.

    Args:
        words: what is claimed. The same words on every machine: they are the claim's name, one of a kind in a chapter.
        value: a number, or several of which each has to comply (a sequence, an array, a tensor), or a function of no
            argument that returns them, for what cannot be computed on every machine.
        above, below: bounds, exclusive; both for an interval. In `unit`.
        equals: in place of bounds, the very value: a count, a word, True.
        unit: of the value.
        often: what the words promise when the chapter's seeds are changed: "always"; "mostly"; or "here", for a
            sentence about this one training. On another machine with the same seeds every claim is meant to hold.
    """
    made = _made(words, value, {"above": above, "below": below, "equals": equals, "unit": unit, "often": often})
    RECORD.append(made)
    if file := os.environ.get(RECORD_FILE):
        with suppress(OSError), Path(file).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(made), ensure_ascii=False) + "\n")
    if not made.holds:
        _say(made)


def _made(words: str, value: Any, said: dict[str, Any]) -> Claim:
    """The claim, compared; whatever goes wrong on the way becomes its `fault`."""
    plain = {**said, **{name: _number(said[name]) for name in ("above", "below", "equals")}}
    try:
        if (plain["equals"] is None) == (plain["above"] is None and plain["below"] is None):
            raise ValueError("expected bounds, above, below or both, or else equals")
        if said["often"] not in PROMISES:
            raise ValueError(f"often: got {said['often']!r}, expected one of {', '.join(PROMISES)}")
        values = _values(value)
        if plain["equals"] is not None:
            worst = next((v for v in values if v != plain["equals"]), values[0])
            holds = worst == plain["equals"]
        else:
            low = -math.inf if plain["above"] is None else float(plain["above"])
            high = math.inf if plain["below"] is None else float(plain["below"])
            worst = min(map(float, values), key=lambda v: _slack(v, low, high))
            holds = low < worst < high
    except Exception as error:
        return Claim(words=words, value=None, holds=False, fault=f"{type(error).__name__}: {error}", **plain)
    # JSON has no infinity and no NaN.
    kept = worst if isinstance(worst, str) or math.isfinite(worst) else str(worst)
    return Claim(words=words, value=kept, holds=bool(holds), **plain)


def _values(value: Any) -> list[float | str]:
    """Numbers or words, one or many, as a flat list."""
    value = value() if isinstance(value, Callable) else value
    if hasattr(value, "detach"):  # a tensor
        value = value.detach().cpu().numpy()
    items = [value] if isinstance(value, str) else np.asarray(value).ravel().tolist()
    if not items:
        raise ValueError("there are no values")
    return [item if isinstance(item, str) else float(item) for item in items]


def _slack(value: float, low: float, high: float) -> float:
    """Distance to the nearer bound, negative beyond it; least of all for what is not a number."""
    return -math.inf if math.isnan(value) else min(value - low, high - value)


def _number(value: Any) -> float | str | None:
    return value if value is None or isinstance(value, str) else float(value)


def _shown(value: float | str | None, unit: str) -> str:
    if value is None or isinstance(value, str):
        return str(value)
    digits = f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:.3g}"
    return f"{digits} {unit}".rstrip()


def _say(made: Claim) -> None:
    """One quiet line, in a notebook or a terminal."""
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import display
    except ImportError:  # the library alone
        print(made)
        return
    if get_ipython() is None:
        print(made)
        return
    line = f'<p class="claim-short" style="{STYLE}">{html.escape(str(made))}</p>'
    display({"text/html": line, "text/plain": str(made)}, raw=True)
