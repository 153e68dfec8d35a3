"""The conclusions of the study that the book starts from, put to results: upheld, contradicted or undecided.

Each function states its test and applies it; nothing is typed that the results decide. All tests compare block by
block (one seed on one system), on the ranks or scores of forces. Out of domain means "near" and "far" together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from uqlib.study.contests import OUT, PAPER, accuracy_pairs, among, of_systems, outcome_of, overall_pairs
from uqlib.study.grid import REGIMES
from uqlib.study.results import QUESTIONS, Results
from uqlib.study.statistics import Pair, pairs
from uqlib.study.words import label, name_of, p_text, signed, too_few

Ruling = Literal["upheld", "contradicted", "undecided", "not tested"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What became of one conclusion."""

    claim: str
    ruling: Ruling
    test: str  # what is asked of the results, and what decides
    evidence: str  # what was found


def consistency(results: Results) -> Finding:
    """The study's title."""
    found = overall_pairs(among(results, PAPER), [(m, "ensemble", (regime,)) for m in PAPER[1:] for regime in REGIMES])
    outcomes = {m: [pair.outcome for (name, *_), pair in found.items() if name == m] for m in PAPER[1:]}
    better = [m for m, seen in outcomes.items() if "better" in seen and "worse" not in seen]
    behind = [m for m, seen in outcomes.items() if "worse" in seen]
    ruling: Ruling = "upheld" if len(behind) == len(outcomes) else "contradicted" if better else "undecided"
    return Finding(
        claim="Uncertainty from a single model does not consistently outperform an ensemble.",
        ruling=ruling,
        test="Upheld if each of the three single-model methods is significantly worse than the ensemble in at least "
        "one regime; contradicted if one of them is significantly better somewhere and worse nowhere.",
        evidence=_tell(found),
    )


def no_winner(results: Results) -> Finding:
    """No method wins on every metric."""
    few = among(results, PAPER)
    asked = [(question, regime) for regime in REGIMES for question in QUESTIONS if few.blocks_in((regime,))]
    found = {contest: few.answers(contest[0], (contest[1],)) for contest in asked}
    best = {contest: int(few.ranks(contest[0], (contest[1],)).mean(0).argmin()) for contest in asked}
    behind: dict[str, list[str]] = {}
    for k, method in enumerate(few.grid.methods):
        against = {
            f"{question} {name_of((regime,))}": found[question, regime][:, k] - found[question, regime][:, first]
            for (question, regime), first in best.items()
            if first != k
        }
        behind[method] = [contest for contest, pair in pairs(against).items() if pair.outcome == "worse"]
    wins = {method: sum(first == k for first in best.values()) for k, method in enumerate(few.grid.methods)}
    unbeaten = [method for method, where in behind.items() if not where]
    sweeps = [method for method in unbeaten if wins[method] == len(asked)]
    ruling: Ruling = "upheld" if not unbeaten else "contradicted" if sweeps == unbeaten else "undecided"
    told = [f"{label(m)} in {len(where)} of {len(asked)} (first: {where[0]})" for m, where in behind.items() if where]
    first = ", ".join(f"{label(m)} {count}" for m, count in sorted(wins.items(), key=lambda item: -item[1]))
    return Finding(
        claim="No method wins on every metric.",
        ruling=ruling,
        test=f"{len(asked)} contests: {len(QUESTIONS)} questions in each regime. Upheld if each of the four methods is "
        "significantly worse than the one that is best on average in at least one of them (Wilcoxon, with Holm's "
        "correction for the contests); contradicted if one is first in all and all others are worse somewhere.",
        evidence=f"Best on average: {first}. Significantly worse than the best: {'; '.join(told) or 'none'}.",
    )


def generalisation(results: Results) -> Finding:
    """Ensembling generalises best."""
    found = accuracy_pairs(among(results, PAPER), "ensemble", PAPER[1:], OUT)
    outcomes = [pair.outcome for pair in found.values()]
    ruling: Ruling = "contradicted" if "worse" in outcomes else "undecided"
    if set(outcomes) == {"better"}:
        ruling = "upheld"
    told = ", ".join(
        f"{signed(100 * (np.exp(-pair.median) - 1), 1)} % against {label(rival)} ({p_text(pair)})"
        for rival, pair in found.items()
    )
    return Finding(
        claim="Ensembling generalises best.",
        ruling=ruling,
        test="Force errors (MAE) out of domain: upheld if the ensemble's are significantly smaller than those of MVE, "
        "of evidential regression and of the plain network under the GMM; contradicted if they are significantly "
        "larger than one of these.",
        evidence=f"Median change of the MAE: {told}. {too_few(found.values())}".strip(),
    )


def in_domain_only(results: Results) -> Finding:
    """Mean-variance estimation is good only in domain."""
    asked = [("mve", "ensemble", regimes) for regimes in (("in-domain",), OUT)]
    found = overall_pairs(among(results, PAPER), asked)
    inside, outside = (outcome_of(found, "mve", "ensemble", where) for where in ("in domain", "out of domain"))
    ruling: Ruling = (
        "contradicted" if inside == "worse" or outside == "better" else "upheld" if outside == "worse" else "undecided"
    )
    return Finding(
        claim="Mean-variance estimation is good only in domain.",
        ruling=ruling,
        test="Good is what does not rank significantly behind the ensemble. Upheld if MVE is good in domain and not "
        "out of it; contradicted if it is not good in domain either, or better than the ensemble out of it.",
        evidence=f"{_tell(found)} (The force errors themselves, MVE's over the ensemble's: {_error_ratios(results)}.)",
    )


def _error_ratios(results: Results) -> str:
    few = among(results, PAPER)
    found = {regime: accuracy_pairs(few, "mve", ["ensemble"], (regime,))["ensemble"] for regime in REGIMES}
    told = [f"{np.exp(-p.median):.2f} {name_of((r,))} ({p_text(p)})" for r, p in found.items() if p.blocks]
    return ", ".join(told)


def gmm_out_of_domain(results: Results) -> Finding:
    """The Gaussian mixture is better out of domain."""
    found = overall_pairs(among(results, PAPER), [("gmm", rival, OUT) for rival in ("mve", "evidential", "ensemble")])
    outcomes = [outcome_of(found, "gmm", rival, "out of domain") for rival in ("mve", "evidential")]
    ruling: Ruling = "upheld" if outcomes == ["better"] * 2 else "contradicted" if "worse" in outcomes else "undecided"
    return Finding(
        claim="The Gaussian mixture is better out of domain.",
        ruling=ruling,
        test="Upheld if GMM ranks significantly better out of domain than both of the other single-model methods; "
        "contradicted if it ranks significantly worse than one of them.",
        evidence=_tell(found),
    )


def evidential_never(results: Results) -> Finding:
    """Evidential regression is never the preferable one."""
    rivals = [m for m in PAPER if m != "evidential"]
    found = overall_pairs(among(results, PAPER), [("evidential", m, (regime,)) for regime in REGIMES for m in rivals])
    by_regime: dict[str, list[str]] = {}
    for (_, _, where), pair in found.items():
        by_regime.setdefault(where, []).append(pair.outcome)
    preferable = [where for where, seen in by_regime.items() if all(outcome == "better" for outcome in seen)]
    beaten = [where for where, seen in by_regime.items() if "worse" in seen]
    ruling: Ruling = (
        "contradicted" if preferable else "upheld" if by_regime and len(beaten) == len(by_regime) else "undecided"
    )
    return Finding(
        claim="Evidential regression is never the preferable method.",
        ruling=ruling,
        test="Upheld if in every regime one of the other three ranks significantly better; contradicted if in some "
        "regime it ranks significantly better than all three.",
        evidence=_tell(found),
    )


def robustness(results: Results) -> Finding:
    """Ensembling gives the most robust potentials."""
    return Finding(
        claim="Ensembling gives the most robust potentials.",
        ruling="not tested",
        test="It would need active learning and dynamics with every method, which this grid leaves out.",
        evidence=f"None of the {len(results.blocks)} blocks says how a simulation ends.",
    )


CONCLUSIONS = (
    consistency, no_winner, generalisation, robustness, in_domain_only, gmm_out_of_domain, evidential_never
)  # fmt: skip


def findings(results: Results) -> list[Finding]:
    """All conclusions in turn. Raises ValueError where no block is complete."""
    if not results.blocks:
        raise ValueError("results: no block is complete; run `python -m uqlib study` first")
    return [conclusion(results) for conclusion in CONCLUSIONS]


def rulings_alone(results: Results) -> dict[str, list[Ruling]]:
    """System -> the rulings of `findings` on its blocks alone."""
    return {system: _rulings(of_systems(results, [system])) for system in results.systems}


def rulings_without(results: Results) -> dict[str, list[Ruling]]:
    """System -> the rulings of `findings` when it is left out: what stands or falls with one system.

    Empty where fewer than two systems have blocks.
    """
    systems = list(results.systems)
    if len(systems) < 2:
        return {}
    return {left: _rulings(of_systems(results, [system for system in systems if system != left])) for left in systems}


def _rulings(results: Results) -> list[Ruling]:
    return [finding.ruling for finding in findings(results)]


def _tell(found: Mapping[tuple[str, str, str], Pair]) -> str:
    """One sentence for each two methods, with what was found in each regime."""
    sentences: dict[str, list[str]] = {}
    for (method, rival, where), pair in found.items():
        words = f"{signed(pair.median, 2)} {where} ({p_text(pair)})"
        sentences.setdefault(f"{label(method)} against {label(rival)}", []).append(words)
    told = [f"{who[0].upper()}{who[1:]}: {', '.join(where)}." for who, where in sentences.items()]
    return " ".join(["Median difference in rank, positive if better.", *told, too_few(found.values())]).strip()
