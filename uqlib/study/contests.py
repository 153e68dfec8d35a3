"""All contrasts that the verdict prints: who meets whom, by what measure, where; and margins that were set before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations

import numpy as np

from uqlib.study.families import Contrast, Key, Outcome, judge
from uqlib.study.results import DOMAINS, UNCERTAINTY, Results

PAPER = ("ensemble", "mve", "evidential", "gmm")
"""The methods of the study by Tan et al.; its conclusions are about these."""

ALL = "all four"  # questions about the uncertainty
SETS: Mapping[str, tuple[str, ...]] = {
    ALL: UNCERTAINTY,
    **{question: (question,) for question in UNCERTAINTY},
}
"""Measure -> questions whose ranks are averaged. The rulings rest on the first; the others show what hangs on it."""

PLACE, PERCENT, AREA, FRACTION = 1.0, 0.05, 0.02, 0.1
MARGINS = (
    ("a difference in rank", PLACE, "one place", "with less, fewer than one of all methods stands between the two"),
    (
        "a ratio of force errors",
        PERCENT,
        "5 %",
        "about what two seeds of one network differ by, on the system where they differ least",
    ),
    ("a miscalibration area", AREA, "0.02", "error bars that are all 6 % too small have that much"),
    ("a fraction of trajectories", FRACTION, "0.1", "of 32 trajectories of one potential, three: less is their luck"),
)
"""What is compared, how small a difference does not matter, in words, and why. Set before results were looked at."""


def margin(key: Key) -> float:
    """Differences that are smaller do not matter: see `MARGINS`. Of accuracy, as a logarithm."""
    special = {"accuracy": float(np.log1p(PERCENT)), "recalibration": AREA}
    return FRACTION if key.measure.startswith("survival") else special.get(key.measure, PLACE)


Experiments = dict[str, dict[Key, np.ndarray]]
Judged = Mapping[str, Mapping[Key, Contrast]]


def contrasts(results: Results) -> Experiments:
    """System -> contrast -> (seeds,) differences: everything that the page of the verdict compares."""
    found: Experiments = {system: {} for system in results.systems}
    column = results.grid.methods.index
    four = [method for method in PAPER if method in results.grid.methods]
    later = [method for method in results.grid.methods if method not in PAPER]
    for domain in DOMAINS:
        each = {question: results.ranks((question,), domain) for question in UNCERTAINTY}
        for measure, questions in SETS.items():
            pairs = [*combinations(four, 2)] + ([(m, "ensemble") for m in later] if measure == ALL else [])
            for system in each[questions[0]]:
                ranks = np.mean([each[question][system] for question in questions], axis=0)
                for one, other in pairs:
                    difference = ranks[:, column(other)] - ranks[:, column(one)]
                    found[system][Key(measure, one, other, domain)] = difference
        for system, good in results.answers("accuracy", domain).items():
            for one, other in [*combinations(four, 2), *(("ensemble", v) for v in later if v in results.grid.variants)]:
                found[system][Key("accuracy", one, other, domain)] = good[:, column(one)] - good[:, column(other)]
        for system, smaller in recalibrated(results, domain).items():
            found[system][Key("recalibration", "after", "before", domain)] = smaller
    return found


def recalibrated(results: Results, domain: str) -> dict[str, np.ndarray]:
    """System -> (seeds,) by how much recalibration shrinks the miscalibration area, averaged over methods with one."""
    found = {}
    for system in results.systems:
        both = [
            results.values("miscalibration", system, split, stage="before")
            - results.values("miscalibration", system, split, stage="after")
            for split in results.splits(system, domain)
        ]
        if both:
            stacked = np.stack(both)  # (splits, seeds, methods)
            sized = ~np.isnan(stacked).all(axis=(0, 1))
            if sized.any():
                found[system] = np.nan_to_num(np.nanmean(stacked[:, :, sized], axis=(0, 2)))
    return found


def judged(results: Results, more: Mapping[str, Mapping[Key, np.ndarray]] | None = None) -> Judged:
    """All contrasts of the page in one family; `more`: experiments of another kind that it prints as well."""
    return judge({**contrasts(results), **(more or {})}, margin)


class Answers:
    """What the contrasts of one system say: asked for by who meets whom, in any order."""

    def __init__(self, found: Mapping[Key, Contrast]) -> None:
        self.found = found

    def contrast(self, measure: str, method: str, rival: str, domain: str) -> tuple[Contrast, bool] | None:
        """The contrast, and whether it is the wrong way round; None where it was not asked."""
        for key, turned in ((Key(measure, method, rival, domain), False), (Key(measure, rival, method, domain), True)):
            if key in self.found:
                return self.found[key], turned
        return None

    def outcome(self, measure: str, method: str, rival: str, domain: str) -> Outcome:
        """Of the method against its rival."""
        known = self.contrast(measure, method, rival, domain)
        if known is None:
            return "undecided"
        contrast, turned = known
        other: dict[Outcome, Outcome] = {"better": "worse", "worse": "better"}
        return other.get(contrast.outcome, contrast.outcome) if turned else contrast.outcome

    def outcomes(self, measure: str, method: str, rivals: Sequence[str], domains: Sequence[str]) -> list[Outcome]:
        """Against all rivals, domain by domain."""
        return [self.outcome(measure, method, rival, domain) for domain in domains for rival in rivals]


Ask = Callable[..., Outcome]


def asking(answers: Answers, measure: str) -> Ask:
    """`Answers.outcome` by one measure."""
    return partial(answers.outcome, measure)
