"""Which method in which situation, read off the results: who is not beaten on each system, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from uqlib import methods
from uqlib.methods.shared.recipes import AfterTraining
from uqlib.study.contests import Answers, margin
from uqlib.study.families import Key, judge
from uqlib.study.results import DOMAINS, INSIDE, OUTSIDE, UNCERTAINTY, Results
from uqlib.study.words import label, listed

Price = Literal["training", "prediction"]


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What somebody needs, and which price is paid again and again."""

    name: str
    questions: tuple[str, ...]  # of `results.QUESTIONS`, whose ranks are averaged
    domains: tuple[str, ...]  # where, averaged as well
    price: Price | None = None
    trained: bool = False  # whether the network is there already and stays as it is


SITUATIONS: Mapping[str, Situation] = {
    s.name: s
    for s in (
        Situation(name="screening", questions=("order", "detection"), domains=(OUTSIDE,), price="prediction"),
        # An attack climbs on the uncertainty against the energy: it must grow as the errors do, and so have a size.
        Situation(
            name="active learning", questions=("order", "detection", "size"), domains=(OUTSIDE,), price="training"
        ),
        Situation(
            name="production dynamics", questions=("accuracy", "detection"), domains=(OUTSIDE,), price="prediction"
        ),
        Situation(name="error bars to publish", questions=("size", "likelihood"), domains=(INSIDE,)),
        Situation(name="little time", questions=UNCERTAINTY, domains=DOMAINS, price="training"),
        Situation(name="a potential that is there already", questions=UNCERTAINTY, domains=(OUTSIDE,), trained=True),
        Situation(name="whatever it costs", questions=UNCERTAINTY, domains=(OUTSIDE,)),
    )
}


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What the results say of the methods that fit a situation."""

    situation: Situation
    rank: Mapping[str, Mapping[str, float]]  # system -> method -> average rank, among all methods
    unbeaten: Mapping[str, tuple[str, ...]]  # system -> methods than which none is shown to be better, best first

    @property
    def everywhere(self) -> tuple[str, ...]:
        """Methods that are beaten on no system; the best on average first."""
        return tuple(m for m in self.average if all(m in found for found in self.unbeaten.values()))

    @property
    def average(self) -> dict[str, float]:
        """Method -> rank averaged over these systems, best first. Describes the choice of systems as well."""
        found = {m: float(np.mean([ranks[m] for ranks in self.rank.values()])) for m in next(iter(self.rank.values()))}
        return dict(sorted(found.items(), key=lambda item: item[1]))

    def in_words(self) -> str:
        """What was asked for, and the answer, as a quotation in Markdown."""
        s = self.situation
        each = "; ".join(f"on {system} {listed(label(m) for m in found)}" for system, found in self.unbeaten.items())
        common = f"On all of them: {listed(label(m) for m in self.everywhere)}."
        ready = " (no new training)" if s.trained else ""
        return (
            f"> **By our results**, asked for {listed(s.questions)}, {listed(s.domains)}{ready}. None is shown to be "
            f"better than these: {each}. {common}"
        )


def advise(results: Results, situations: Mapping[str, Situation] = SITUATIONS) -> dict[str, Advice]:
    """Situation -> advice; all pairs of methods in all situations are judged as one family, system by system.

    Raises ValueError where no method fits a situation, or no system has structures in its domains.
    """
    names = results.grid.methods
    fits = {
        name: [m for m in names if not s.trained or isinstance(methods.METHODS.get(m), AfterTraining)]
        for name, s in situations.items()
    }
    ranked = {name: _ranks(results, situation) for name, situation in situations.items()}
    for name in situations:
        if not fits[name] or not ranked[name]:
            raise ValueError(f"situations: nothing fits {name!r}, expected a method, and a system with such structures")
    asked = {
        system: {
            Key(name, one, other, ""): found[system][:, names.index(other)] - found[system][:, names.index(one)]
            for name, found in ranked.items()
            if system in found
            for one, other in combinations(fits[name], 2)
        }
        for system in results.systems
    }
    answers = {system: Answers(found) for system, found in judge(asked, margin).items()}
    return {
        name: _advice(situation, fits[name], names, ranked[name], answers) for name, situation in situations.items()
    }


def _ranks(results: Results, situation: Situation) -> dict[str, np.ndarray]:
    each = [results.ranks(situation.questions, domain) for domain in situation.domains]
    return {
        system: np.mean([found[system] for found in each], axis=0)
        for system in each[0]
        if all(system in f for f in each)
    }


def _advice(
    situation: Situation,
    fits: list[str],
    names: tuple[str, ...],
    found: Mapping[str, np.ndarray],
    answers: Mapping[str, Answers],
) -> Advice:
    rank = {system: {m: float(ranks[:, names.index(m)].mean()) for m in fits} for system, ranks in found.items()}
    unbeaten = {}
    for system, ranks in rank.items():
        beaten = {
            m
            for m in fits
            for rival in fits
            if m != rival and answers[system].outcome(situation.name, m, rival, "") == "worse"
        }
        unbeaten[system] = tuple(m for m in sorted(fits, key=ranks.__getitem__) if m not in beaten)
    return Advice(situation=situation, rank=rank, unbeaten=unbeaten)
