"""How methods, contrasts and rulings are written in a sentence."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from uqlib.study.families import Contrast, Outcome
from uqlib.study.statistics import LEVEL

TURNED: dict[Outcome, Outcome] = {"better": "worse", "worse": "better"}


def listed(words: Iterable[str]) -> str:
    """One, two and three."""
    found = list(words)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}" if found else "none"


def label(method: str) -> str:
    """As it is written in text and figures."""
    return {"mve": "MVE", "gmm": "GMM", "llpr": "LLPR"}.get(method, method)


def p_text(p_value: float) -> str:
    """Two digits, more where rounding would bring it to the level or across it."""
    rounded = f"{p_value:.2g}"
    across = (float(rounded) < LEVEL) != (p_value < LEVEL) or float(rounded) == LEVEL
    return f"p = {f'{p_value:.4g}' if across else rounded}"


def signed(value: float, digits: int) -> str:
    """With its sign, and a minus that looks like one."""
    return f"{value:+.{digits}f}".replace("-", "−")


def contrast_text(
    method: str,
    rival: str,
    where: str,
    found: Contrast,
    turned: bool,
    *,
    ratio: bool = False,
    scale: float = 1.0,
    unit: str = "",
) -> str:
    """Estimate, interval, p value and outcome of one contrast, `turned` where it was asked the other way round.

    Where it is undecided, with the difference that would be found in four of five repetitions.
    `ratio`: of errors, as a change of the MAE in percent.
    """
    sign = -scale if turned else scale
    numbers = [sign * found.estimate, *sorted((sign * found.low, sign * found.high))]
    if ratio:
        middle, low, high = (100 * float(np.expm1(-number)) for number in numbers)
        numbers, unit = [middle, high, low], " %"
    digits, reach = 0 if unit else 1, scale * found.detectable
    if ratio:
        reach = -100 * float(np.expm1(-found.detectable))
    middle, low, high = (signed(number, digits) for number in numbers)
    span = f" ({low} to {high})" if np.isfinite(numbers).all() else ""
    outcome: str = TURNED.get(found.outcome, found.outcome) if turned else found.outcome
    if outcome == "undecided" and np.isfinite(reach):
        outcome = f"undecided ({reach:.{digits}f}{unit} would be found)"
    who = f"{label(method)} against {label(rival)}" + (f" {where}" if where else "")
    return f"{who}: {middle}{unit}{span}, {outcome}, {p_text(found.p_value)}"
