"""Sentences of the verdict, in Markdown, made from results: where these change, so does what is said."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import stats

from uqlib.study.contests import later_methods
from uqlib.study.grid import REGIMES
from uqlib.study.results import QUESTIONS, Results
from uqlib.study.statistics import Pair, compare_ranks, pairs
from uqlib.study.verdict import Finding, findings, rulings_without
from uqlib.study.words import label, listed, name_of, p_text, signed


def coverage(results: Results) -> str:
    """Which systems are in, from how many seeds, scored on what; which are not; and what it cost."""
    lines = []
    for system, seeds in results.systems.items():
        cell = next(cell for (name, *_), cell in results.cells.items() if name == system)
        regimes = [
            f"{name_of((regime,))} {listed(f'`{split}`' for split in results.splits(system, (regime,)))}"
            for regime in REGIMES
            if results.splits(system, (regime,))
        ]
        data = results.grid.systems[system].data
        which = "" if data == system else f" (data set `{data}`)"
        lines.append(
            f"- **{system}**{which}: {seeds} seeds, {cell['train']} training structures; scored {'; '.join(regimes)}."
        )
    if spare := {system: n for system, n in results.spare.items() if n}:
        more = listed(f"{n} of {system}" for system, n in spare.items())
        lines.append(f"- As many blocks of each system count, so that each has the same say; left over: {more}.")
    if missing := [system for system in results.grid.systems if system not in results.systems]:
        lines.append(f"- Not in these results yet: {listed(missing)}.")
    cells = [results.cells[system, seed, m] for system, seed in results.blocks for m in results.grid.methods]
    machines = sorted({cell["hardware"]["processor"] for cell in cells})
    lines.append(
        f"\n{len(cells)} cells, from {training_hours(results):.1f} processor hours of training on {listed(machines)}."
    )
    return "\n".join(lines)


def training_hours(results: Results) -> float:
    """Processor time of all trainings, a shared one counted once; what an interrupted run did not tell is left out."""
    total = 0.0
    for system, seed in results.blocks:
        cells = [results.cells[system, seed, method] for method in results.grid.methods]
        plain = next((cell["one_network"]["training"] for cell in cells if cell["one_network"]), None) or 0.0
        own = [(cell["cost"]["training"] or 0.0, plain if cell["one_network"] else 0.0) for cell in cells]
        total += plain + sum(max(whole - shared, 0.0) for whole, shared in own)
    return total / 3600


def standing(results: Results, regime: str) -> str:
    """Who ranks first in a regime, and who cannot be told from it."""
    found = results.overall_ranks((regime,))
    if len(found) < 2:
        return f"**{name_of((regime,)).capitalize()}**: too few results."
    compared = compare_ranks(results.grid.methods, found)
    near = [
        m
        for m, a in zip(compared.methods, compared.average, strict=True)
        if a - compared.average[0] <= compared.critical
    ]
    far = [label(m) for m in compared.methods if m not in near]
    others = f"cannot be told apart from it: {listed(label(m) for m in near[1:])}" if near[1:] else "it stands alone"
    return (
        f"**{name_of((regime,)).capitalize()}** {label(compared.methods[0])} comes first (average rank "
        f"{compared.average[0]:.1f}); {others}. Significantly behind: {listed(far)}. (Friedman's test, all alike: "
        f"p = {compared.p_value:.1g}; {compared.blocks} blocks.)"
    )


def agreement(results: Results, regimes: Sequence[str]) -> dict[tuple[str, str], float]:
    """Two systems -> Spearman's correlation of the average ranks of the methods on one and on the other."""
    found = ranks_by_system(results, regimes)
    return {
        (one, other): float(stats.spearmanr(found[one], found[other])[0])
        for one, other in itertools.combinations(found, 2)
    }


def ranks_by_system(results: Results, regimes: Sequence[str]) -> dict[str, np.ndarray]:
    """System -> (methods,) average ranks over its seeds and the questions about uncertainty."""
    found, systems = results.overall_ranks(regimes), [system for system, _ in results.blocks_in(regimes)]
    return {name: found[[system == name for system in systems]].mean(0) for name in dict.fromkeys(systems)}


def agreement_in_words(results: Results) -> str:
    """Who comes first on each system, and how far the systems agree, regime by regime."""
    told = []
    for regime in REGIMES:
        found = ranks_by_system(results, (regime,))
        first = [
            f"{label(results.grid.methods[int(average.argmin())])} on {system}" for system, average in found.items()
        ]
        alike = [f"{one} and {other} {signed(rho, 2)}" for (one, other), rho in agreement(results, (regime,)).items()]
        if alike:
            where = name_of((regime,)).capitalize()
            told.append(f"**{where}** first: {listed(first)}; correlation of the orders: {listed(alike)}.")
    return "\n\n".join(told) or "One system only: nothing to compare."


def recalibrations(results: Results) -> dict[str, Pair]:
    """Regime -> what recalibration does to the miscalibration area, averaged over methods that had one before.

    Positive medians: it becomes smaller.
    """
    differences = {}
    for regime in REGIMES:
        rows = []
        for system in results.systems:
            changes = [
                results.values("miscalibration", system, split, stage="before")
                - results.values("miscalibration", system, split, stage="after")
                for split in results.splits(system, (regime,))
            ]
            if changes:
                rows.append(np.nanmean(np.nanmean(_with_values(changes), axis=2), axis=0))
        if rows:
            differences[regime] = np.concatenate(rows)
    return pairs(differences)


def _with_values(changes: Sequence[np.ndarray]) -> np.ndarray:
    """(splits, seeds, methods) without the methods that had no size before."""
    stacked = np.stack(changes)
    return stacked[:, :, ~np.isnan(stacked).all(axis=(0, 1))]


def recalibration(results: Results) -> str:
    """What `recalibrations` found, in words."""
    words = {"better": "smaller", "worse": "larger", "not told apart": "not significantly different"}
    told = [
        f"{name_of((regime,))} it is {words[pair.outcome]} (median change {signed(-pair.median, 3)}, "
        f"p = {pair.p_value:.2g})"
        for regime, pair in recalibrations(results).items()
    ]
    return f"After recalibration the miscalibration area, averaged over these methods, is this: {'; '.join(told)}."


def later(results: Results) -> list[list[str]]:
    """The methods that came after the study, each against the ensemble: a row for each, a column for each regime."""
    found = later_methods(results)
    rows = []
    for method in dict.fromkeys(method for method, *_ in found):
        cells = [found.get((method, "ensemble", name_of((regime,)))) for regime in REGIMES]
        texts = ["–" if pair is None else f"{signed(pair.median, 1)} ({p_text(pair)})" for pair in cells]
        rows.append([label(method), *texts])
    return rows


def later_in_words(results: Results) -> str:
    """Which of them beat the ensemble somewhere, and which fall behind nowhere."""
    found = later_methods(results)
    outcomes: dict[str, list[str]] = {}
    for (method, *_), pair in found.items():
        outcomes.setdefault(method, []).append(pair.outcome)
    ahead = [label(m) for m, seen in outcomes.items() if "better" in seen and "worse" not in seen]
    level = [label(m) for m, seen in outcomes.items() if not {"better", "worse"} & set(seen)]
    behind = [label(m) for m, seen in outcomes.items() if "worse" in seen]
    return (
        f"Significantly better than the ensemble somewhere and worse nowhere: {listed(ahead)}. Not to be told apart "
        f"from it in any regime: {listed(level)}. Significantly worse in at least one: {listed(behind)}."
    )


def in_turn(found: Finding) -> str:
    """One conclusion with its test and what was found."""
    return f"**{found.claim}**\n\n*Test.* {found.test}\n\n*Found.* {found.evidence}\n\n*Ruling:* **{found.ruling}**."


def steadiness(results: Results) -> str:
    """Which rulings change when one of the systems is left out."""
    found, without = findings(results), rulings_without(results)
    if not without:
        return "One system only: none can be left out."
    told = []
    for k, finding in enumerate(found):
        how = [f"{each[k]} without {system}" for system, each in without.items() if each[k] != finding.ruling]
        if how:
            told.append(f"*{finding.claim[0].lower()}{finding.claim[1:-1]}* ({', '.join(how)})")
    tested = sum(finding.ruling != "not tested" for finding in found)
    if not told:
        return f"All {tested} rulings stand when any one system is left out."
    return f"Leave out one system, and {len(told)} of {tested} rulings change: {'; '.join(told)}."


def scoreboard(results: Results) -> list[list[str | float | None]]:
    """A row for each method and regime: force MAE over the ensemble's, then the other answers, rank, and costs.

    Averages over blocks, and over splits within each; the error ratio is a geometric mean. Costs are medians over
    everything, as multiples of one network's.
    """
    rows: list[list[str | float | None]] = []
    methods = results.grid.methods
    price = {what: typical_cost(results, what) for what in ("training", "inference")}
    for regime in REGIMES:
        if len(results.blocks_in((regime,))) == 0:
            continue
        answers = {q: results.answers(q, (regime,)).mean(0) * QUESTIONS[q].sign for q in QUESTIONS}
        overall = results.overall_ranks((regime,)).mean(0)
        reference = answers["accuracy"][methods.index("ensemble")] if "ensemble" in methods else 0.0
        for k, method in enumerate(methods):
            scores = [float(answers[q][k]) for q in QUESTIONS if q != "accuracy"]
            ratio = float(np.exp(answers["accuracy"][k] - reference))
            costs_of = [price[what][method] for what in ("training", "inference")]
            rows.append([label(method), name_of((regime,)), ratio, *scores, float(overall[k]), *costs_of])
    return rows


SCOREBOARD = (
    "method", "regime", "MAE ratio", "Spearman", "ROC-AUC", "miscalibration", "NLL", "rank", "training ×",
    "prediction ×",
)  # fmt: skip
"""Heads of `scoreboard`."""


def typical_cost(results: Results, what: str) -> dict[str, float]:
    """Method -> median over systems and seeds of its multiple of one network's cost."""
    found = np.concatenate(list(results.costs(what).values()))  # pyright: ignore[reportArgumentType]
    return dict(zip(results.grid.methods, (float(value) for value in np.nanmedian(found, axis=0)), strict=True))
