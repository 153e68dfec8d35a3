"""Sentences of the verdict, in Markdown, made from results: where these change, so does what is said."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import stats

from uqlib.study.contests import ALL, PAPER, SETS, Answers, Judged
from uqlib.study.families import Contrast, Key, seeds_needed
from uqlib.study.results import DOMAINS, EASIER, OUTSIDE, QUESTIONS, UNCERTAINTY, Results
from uqlib.study.verdict import Finding, by_measure, counted
from uqlib.study.words import label, listed, p_text, signed


def coverage(results: Results) -> str:
    """Which systems are in, from how many seeds, on how many structures; which are not; and what it cost."""
    lines = []
    for system, seeds in results.systems.items():
        cell = next(cell for (name, *_), cell in results.cells.items() if name == system)
        data = results.grid.systems[system].data
        which = "" if data == system else f" (data set `{data}`)"
        lines.append(f"- **{system}**{which}: {seeds} seeds, {cell['train']} training structures.")
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


def errors(results: Results, system: str) -> tuple[list[str], list[list[str | float | None]]]:
    """Heads and rows: the force MAE of each method on each split in meV/Å, the median over seeds.

    With each split stands the error of the plain network there, as a multiple of that on the test set.
    """
    times = {split: float(np.median(found)) for split, found in results.novelty(system).items()}
    splits = results.splits(system)
    found = {split: np.median(results.values("MAE", system, split), axis=0) for split in splits}
    heads = ["method", *(f"{split} ({times[split]:.1f} ×)" if split in times else split for split in splits)]
    names = results.grid.methods
    return heads, [[label(m), *(float(found[split][k]) for split in splits)] for k, m in enumerate(names)]


def domains_in_words(results: Results) -> str:
    """Which splits count as out of domain, and which are left out since they are no harder than the test set."""
    told = []
    for system in results.systems:
        times = {split: float(np.median(found)) for split, found in results.novelty(system).items()}
        out, easy = (
            [f"`{split}` ({times.get(split, np.nan):.1f} ×)" for split in results.splits(system, where)]
            for where in (OUTSIDE, EASIER)
        )
        left = f" Left out, no harder than the test set: {listed(easy)}." if easy else ""
        told.append(f"- **{system}**: out of domain lie {listed(out)}.{left}")
    return "\n".join(told)


SCOREBOARD = (
    "method", "system", "domain", "MAE (meV/Å)", "Spearman", "ROC-AUC", "miscalibration", "NLL (nats)", "rank"
)  # fmt: skip
"""Heads of `scoreboard`."""


def scoreboard(results: Results) -> list[list[str | float | None]]:
    """A row for each method, system and domain: averages over seeds and splits; of the MAE, geometric ones."""
    rows: list[list[str | float | None]] = []
    for domain in DOMAINS:
        ranked = results.ranks(UNCERTAINTY, domain)
        answers = {question: results.answers(question, domain) for question in QUESTIONS}
        for system, ranks in ranked.items():
            for k, method in enumerate(results.grid.methods):
                means = {q: QUESTIONS[q].sign * float(found[system][:, k].mean()) for q, found in answers.items()}
                scores = [means[question] for question in UNCERTAINTY]
                mae = float(np.exp(means["accuracy"]))
                rows.append([label(method), system, domain, mae, *scores, float(ranks[:, k].mean())])
    return rows


def average_ranks(results: Results, domain: str, questions: Sequence[str] = UNCERTAINTY) -> dict[str, np.ndarray]:
    """System -> (methods,) average ranks: over seeds, splits, and questions."""
    return {system: found.mean(0) for system, found in results.ranks(questions, domain).items()}


def agreement(results: Results, domain: str) -> dict[tuple[str, str], float]:
    """Two systems -> Spearman's correlation of the average ranks of the methods on one and on the other."""
    found = average_ranks(results, domain)
    pairs = itertools.combinations(found, 2)
    return {(one, other): float(stats.spearmanr(found[one], found[other])[0]) for one, other in pairs}


def agreement_in_words(results: Results) -> str:
    """Who comes first on each system, and how far the systems agree."""
    told = []
    for domain in DOMAINS:
        first = [
            f"{label(results.grid.methods[int(average.argmin())])} on {system}"
            for system, average in average_ranks(results, domain).items()
        ]
        alike = [f"{one} and {other} {signed(rho, 2)}" for (one, other), rho in agreement(results, domain).items()]
        if alike:
            told.append(f"**{domain.capitalize()}** first: {listed(first)}; correlation of orders: {listed(alike)}.")
    return "\n\n".join(told) or "One system only: nothing to compare."


def family_in_words(found: Judged) -> str:
    """How many contrasts are judged at once, how many seeds they need, and what they could have found."""
    needed, told = seeds_needed(len(found)), []
    for name, contrasts in found.items():
        ranked = [c.detectable for key, c in contrasts.items() if key.measure == ALL]
        reach = float(np.median(ranked or [100 * c.detectable for c in contrasts.values()]))
        size = f"{reach:.1f} places" if ranked else f"{reach:.0f} %"
        words = f"a difference of {size} would be found in four of five repetitions, at the median"
        seeds = next(iter(contrasts.values())).seeds
        words = words if np.isfinite(reach) else "no difference can be found"
        told.append(f"- **{name}**: {len(contrasts)} contrasts, {seeds} seeds; {words}.")
    return (
        f"This page prints {sum(map(len, found.values()))} contrasts of {len(found)} experiments, and judges them as "
        f"one family. Each experiment has {5 / len(found):.2g} % of the 5 %, and needs at least {needed} seeds for "
        "anything to be found.\n\n" + "\n".join(told)
    )


def recalibration(found: Judged) -> str:
    """What recalibration does to the miscalibration area, system by system."""
    words = {"better": "smaller", "worse": "larger", "equivalent": "equivalent", "undecided": "undecided"}
    told = [
        f"- {system}, {key.domain}: it shrinks by {signed(c.estimate, 3)} ({words[c.outcome]}, {p_text(c.p_value)})"
        for system, contrasts in found.items()
        for key, c in contrasts.items()
        if key.measure == "recalibration"
    ]
    return "\n".join(["The miscalibration area, averaged over the methods that have one before:\n", *told])


def later(results: Results, found: Judged) -> list[list[str]]:
    """The methods that came after the study, each against the ensemble: a row for each, system by system."""
    rows = []
    for method in [m for m in results.grid.methods if m not in PAPER]:
        row = [label(method)]
        for system in results.systems:
            for domain in DOMAINS:
                contrast = found[system].get(Key(ALL, method, "ensemble", domain))
                row.append(_brief(contrast))
        rows.append(row)
    return rows


def _brief(contrast: Contrast | None) -> str:
    return "–" if contrast is None else f"{signed(contrast.estimate, 1)} ({contrast.outcome})"


def later_in_words(results: Results, found: Judged) -> str:
    """On how many systems each of them is better, worse, or equivalent, in domain and out of it."""
    lines = []
    for domain in DOMAINS:
        told: dict[str, list[str]] = {"better": [], "equivalent": [], "worse": []}
        for method in [m for m in results.grid.methods if m not in PAPER]:
            seen = [Answers(found[system]).outcome(ALL, method, "ensemble", domain) for system in results.systems]
            for outcome, names in told.items():
                if count := seen.count(outcome):  # pyright: ignore[reportArgumentType]
                    names.append(f"{label(method)} ({count} of {len(seen)})")
        parts = [f"{outcome}: {listed(names)}" for outcome, names in told.items()]
        lines.append(f"**{domain.capitalize()}**, and on how many systems: {'; '.join(parts)}.")
    return "\n\n".join(lines)


def rulings(found: Sequence[Finding], systems: Sequence[str]) -> list[list[str]]:
    """A row for each conclusion: its ruling on each system."""
    return [[each.claim, *(_ruling(each, system) for system in systems)] for each in found]


def _ruling(found: Finding, system: str) -> str:
    """With the number of seeds, where that is too small for any other: "undecided: 2 seeds"."""
    few = found.few.get(system)
    return f"{found.rulings.get(system, '–')}{f': {few}' if few else ''}"


def in_turn(found: Finding) -> str:
    """One conclusion with its test, and what was found on each system."""
    each = []
    for system in found.rulings:
        contrasts = found.evidence.get(system, "").split("; ")
        each.append("\n  - ".join([f"- *{system}*: **{_ruling(found, system)}**.", *filter(None, contrasts)]))
    general = counted(found.rulings) if found.rulings else "undecided: no seeds"
    return "\n".join([f"**{found.claim}**\n\n*Test.* {found.test}\n", *each, f"\n*Ruling:* {general}."])


def by_measure_table(results: Results, found: Judged) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: what each ruling would be if only some of the questions had been asked."""
    table = by_measure(results, found)
    measures = list(next(iter(table.values())))
    rows = [
        [claim, system, *(by[measure][system] for measure in measures)]
        for claim, by in table.items()
        for system in results.systems
    ]
    return ["conclusion", "system", *measures], rows


def hanging(results: Results, found: Judged) -> str:
    """How many of the rulings are the same by every set of questions."""
    each = [[by[m][s] for m in by] for by in by_measure(results, found).values() for s in results.systems]
    same, turned = sum(len(set(row)) == 1 for row in each), sum({"upheld", "contradicted"} <= set(row) for row in each)
    return (
        f"{len(each)} rulings, each by {len(SETS)} sets of questions: {same} are the same by all of them, and {turned} "
        "go from upheld to contradicted, or back. The others are undecided by some sets and decided by others."
    )


def typical_cost(results: Results, what: str) -> dict[str, float]:
    """Method -> median over systems and seeds of its multiple of one network's cost."""
    found = np.concatenate(list(results.costs(what).values()))  # pyright: ignore[reportArgumentType]
    return dict(zip(results.grid.methods, (float(value) for value in np.nanmedian(found, axis=0)), strict=True))
