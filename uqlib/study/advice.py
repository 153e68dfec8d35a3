"""Which method in which situation, read off the results: the best-ranked among those that the situation can afford."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from uqlib import methods
from uqlib.methods.shared.recipes import AfterTraining
from uqlib.study.contests import OUT
from uqlib.study.prose import typical_cost
from uqlib.study.results import UNCERTAINTY, Results
from uqlib.study.statistics import seed_interval
from uqlib.study.words import label, listed, name_of


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What somebody needs, and can pay."""

    name: str
    questions: tuple[str, ...]  # of `results.QUESTIONS`, whose ranks are averaged
    regimes: tuple[str, ...]
    training: float = math.inf  # at most so many times that of one network
    inference: float = math.inf
    trained: bool = False  # whether the network is there already and stays as it is


SITUATIONS: Mapping[str, Situation] = {
    s.name: s
    for s in (
        Situation(name="screening", questions=("order", "detection"), regimes=OUT, inference=1.5),
        # An attack climbs on the uncertainty against the energy: it must grow as the errors do, and so have a size.
        Situation(
            name="active learning",
            questions=("order", "detection", "size"),
            regimes=OUT,
            training=1.5,
            inference=6.0,
        ),
        Situation(name="production dynamics", questions=("accuracy", "detection"), regimes=OUT, inference=1.5),
        Situation(name="error bars to publish", questions=("size", "likelihood"), regimes=("in-domain",)),
        Situation(name="one GPU-hour", questions=UNCERTAINTY, regimes=("in-domain", *OUT), training=1.5),
        Situation(name="a potential that is there already", questions=UNCERTAINTY, regimes=OUT, trained=True),
        Situation(name="whatever it costs", questions=UNCERTAINTY, regimes=OUT),
    )
}


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Methods that the situation can afford, best first."""

    situation: Situation
    methods: tuple[str, ...]
    rank: tuple[float, ...]  # average, among all methods
    low: tuple[float, ...]  # ends of its 95 % interval over seeds
    high: tuple[float, ...]
    first: Mapping[str, str]  # system -> the method that is best there

    @property
    def good(self) -> tuple[str, ...]:
        """The best, and those whose intervals reach to its average: the seeds do not tell them apart."""
        return tuple(m for m, low in zip(self.methods, self.low, strict=True) if low <= self.rank[0])

    def in_words(self) -> str:
        """What was asked for, at which price, and the answer, as a quotation in Markdown."""
        s = self.situation
        prices = (("training", s.training), ("prediction", s.inference))
        limits = [f"{word} at most {limit:g} ×" for word, limit in prices if limit < math.inf]
        limits += ["no new training"] if s.trained else []
        price = listed(limits) if limits else "at any price"
        alone = {
            method: listed(system for system in self.first if self.first[system] == method) for method in self.methods
        }
        each = "; ".join(f"{label(method)} on {where}" for method, where in alone.items() if where != "none")
        return (
            f"> **By our results**, asked for {listed(s.questions)}, {name_of(s.regimes)} ({price}): {self}. "
            f"First on each system alone: {each}."
        )

    def __str__(self) -> str:
        best = f"**{label(self.methods[0])}** ({self.rank[0]:.1f})"
        others = [f"{label(m)} ({r:.1f})" for m, r in zip(self.methods, self.rank, strict=True) if m in self.good[1:]]
        return best + (f"; as good: {listed(others)}" if others else "")


def advise(results: Results, situation: Situation) -> Advice:
    """Rank the methods that the situation can afford by what it needs.

    Raises ValueError where it can afford none, or the results have no block in its regimes.
    """
    names, blocks = results.grid.methods, results.blocks_in(situation.regimes)
    if not blocks:
        raise ValueError(f"results: no complete block in {situation.regimes}, expected one at least")
    found = np.mean([results.ranks(question, situation.regimes) for question in situation.questions], axis=0)
    low, high = seed_interval(found, [system for system, _ in blocks])
    average = found.mean(0)
    by_system = {
        system: found[[name == system for name, _ in blocks]].mean(0)
        for system in dict.fromkeys(name for name, _ in blocks)
    }
    training, inference = (typical_cost(results, what) for what in ("training", "inference"))
    affordable = [
        k
        for k in np.argsort(average, kind="stable")
        if training[names[k]] <= situation.training
        and inference[names[k]] <= situation.inference
        and (not situation.trained or isinstance(methods.METHODS[names[k]], AfterTraining))
    ]
    if not affordable:
        raise ValueError(f"situation: no method fits into {situation}")
    rank, low, high = (tuple(float(values[k]) for k in affordable) for values in (average, low, high))
    first = {system: names[min(affordable, key=ranks.__getitem__)] for system, ranks in by_system.items()}
    chosen = tuple(names[k] for k in affordable)
    return Advice(situation=situation, methods=chosen, rank=rank, low=low, high=high, first=first)
