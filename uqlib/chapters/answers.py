"""A question, and what is wrong with an answer to it: a mistake by name, a sign, a unit, a ratio upside down."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

CONVERSIONS = (
    (1000.0, "a thousand times too small. Is it in eV, where meV is asked for?"),
    (0.001, "a thousand times too large. Is it in meV, where eV is asked for?"),
    (43.364, "too small by a factor of 43. Is it in kcal/mol, where meV is asked for?"),
    (27211.4, "far too small. Is it in hartree, where meV is asked for?"),
)
ENERGIES = ("meV", "eV")


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """One question. A number is accepted from `low` to `high`, a word if it is `answer`; with neither it is open."""

    key: str  # chapter, number, and a letter if an exercise asks for several things: "dynamics.1b"
    minutes: float
    hint: str
    ask: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    ratio: bool = False
    share: bool = False
    options: list[str] = field(default_factory=list)
    answer: str = ""
    wrong: dict[str, str] = field(default_factory=dict)  # option -> what to say of it
    mistakes: list[dict[str, Any]] = field(default_factory=list)  # low, high and what to say
    claim: str = ""  # of the chapter: what it allows has to be accepted
    inverse: bool = False  # the claim is about one over the answer

    @property
    def chapter(self) -> str:
        return self.key.split(".")[0]

    @property
    def kind(self) -> Literal["number", "choice", "open"]:
        return "choice" if self.options else "open" if self.low is None else "number"


def fault_of_word(exercise: Exercise, answer: Any) -> str:
    """What is wrong with a word; empty if nothing is. Case and spaces at the ends do not matter."""
    listed = ", ".join(repr(option) for option in exercise.options)
    if isinstance(answer, bool) and {"yes", "no"} <= set(exercise.options):
        answer = "yes" if answer else "no"
    if not isinstance(answer, str):
        return f"got {_shown(answer)}, expected one of {listed}."
    word = " ".join(answer.lower().split())
    known = {option.lower(): option for option in exercise.options}
    found = known.get(word) or next((known[near] for near in get_close_matches(word, known, n=1, cutoff=0.8)), None)
    if found is None:
        return f"got {answer!r}, expected one of {listed}."
    return "" if found == exercise.answer else f"not {found!r}. {exercise.wrong.get(found, '')}".rstrip()


def fault_of_number(exercise: Exercise, answer: Any) -> str:
    """What is wrong with a number; empty if it lies within the bounds."""
    value = number(answer)
    if isinstance(value, str):
        return f"{value}, expected a number{f' in {exercise.unit}' if exercise.unit else ''}."
    if not math.isfinite(value):
        return f"{value} is no finite number. Look for a division by zero, or the logarithm of zero."
    if _accepted(exercise, value):
        return ""
    for mistake in exercise.mistakes:
        if mistake["low"] <= value <= mistake["high"]:
            return mistake["say"]
    return _by_transformation(exercise, value) or _by_size(exercise, value)


def number(answer: Any) -> float | str:
    """An answer as a number, or in words why it is none. Of what has a `value`, an estimate, that is taken."""
    answer = getattr(answer, "value", answer)
    if hasattr(answer, "detach"):  # a tensor
        answer = answer.detach().cpu().numpy()
    size = getattr(answer, "size", 1)
    if isinstance(size, int) and size != 1:
        return f"got {size} numbers"
    if isinstance(answer, (str, bool)):
        return f"got {_shown(answer)}"
    try:
        return float(answer.item() if hasattr(answer, "item") else answer)
    except (TypeError, ValueError):
        return f"got {_shown(answer)}"


def _by_transformation(exercise: Exercise, value: float) -> str:
    """The sign, the unit, a percentage, or a ratio upside down, if that would make the answer right."""
    if value and _accepted(exercise, -value):
        return "the size is right, the sign is not. Was it subtracted the other way round?"
    if exercise.share and _accepted(exercise, value / 100):
        return "right as a percentage. Asked is a share, between 0 and 1."
    if exercise.unit.split("/")[0] in ENERGIES:
        for factor, words in CONVERSIONS:
            if _accepted(exercise, factor * value):
                return words
    if exercise.ratio and value and _accepted(exercise, 1 / value):
        return "the ratio is upside down, as it seems. Look again at what is divided by what."
    if value > 0 and not (exercise.ratio or exercise.share) and _accepted(exercise, math.sqrt(value)):
        return "that looks like the square of it. Is it a variance, where a standard deviation is asked for?"
    return ""


def _by_size(exercise: Exercise, value: float) -> str:
    low, high = _bounds(exercise)
    word, bound = ("large", high) if value > high else ("small", low)
    if bound > 0 and value > 0:
        factor = max(value / bound, bound / value)
        return (
            f"too {word}, by a factor of {factor:.2g} or more." if factor >= 1.95 else f"too {word}, but not by much."
        )
    return f"too {word}."


def _accepted(exercise: Exercise, value: float) -> bool:
    low, high = _bounds(exercise)
    slack = 1e-6 * max(abs(low), abs(high))
    return low - slack <= value <= high + slack


def _bounds(exercise: Exercise) -> tuple[float, float]:
    low, high = exercise.low, exercise.high
    if low is None or high is None:
        raise ValueError(f"{exercise.key} has no bounds: give low and high in exercises.toml")
    return low, high


def _shown(answer: Any) -> str:
    text, kind = repr(answer), type(answer).__name__
    what = "text in quotes" if isinstance(answer, str) else f"a{'n' if kind[0] in 'aeiou' else ''} {kind}"
    return f"{text if len(text) <= 40 else text[:37] + '...'}, {what}"
