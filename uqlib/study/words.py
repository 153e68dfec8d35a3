"""How methods, regimes and results of tests are written in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from uqlib.study.grid import REGIMES
from uqlib.study.statistics import LEVEL, Pair


def listed(words: Iterable[str]) -> str:
    """One, two and three."""
    found = list(words)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}" if found else "none"


def name_of(regimes: Sequence[str]) -> str:
    """As it stands in a sentence."""
    return {("near", "far"): "out of domain", ("in-domain",): "in domain", tuple(REGIMES): "everywhere"}.get(
        tuple(regimes), " and ".join(regimes)
    )


def label(method: str) -> str:
    """As it is written in text and figures."""
    return {"mve": "MVE", "gmm": "GMM", "llpr": "LLPR"}.get(method, method)


def p_text(pair: Pair) -> str:
    """Outcome and p value: "better, p = 0.02"; rounded so that it stays on its side of the level."""
    rounded = f"{pair.p_value:.2g}"
    return f"{pair.outcome}, p = {rounded if float(rounded) != LEVEL else f'{pair.p_value:.3g}'}"


def signed(value: float, digits: int) -> str:
    """With its sign, and a minus that looks like one."""
    return f"{value:+.{digits}f}".replace("-", "−")


def too_few(found: Iterable[Pair]) -> str:
    """A warning where there were not enough blocks for any difference to be significant; else nothing."""
    weak = [pair.blocks for pair in found if not pair.could_tell]
    return f"With {min(weak)} blocks no difference, however steady, could have been significant." if weak else ""
