"""The conclusions of the study that the book starts from, put to each system: upheld, contradicted or undecided.

Each function states its test and applies it to one system; nothing is typed that the results decide. All of them read
the same contrasts, judged as one family (`families`), so that no two of them disagree on who is better. A general
sentence says on how many systems a ruling holds, and no more: three systems are examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from uqlib.study.contests import ALL, PAPER, SETS, Answers, Ask, Judged, asking, judged
from uqlib.study.families import Outcome
from uqlib.study.results import DOMAINS, OUTSIDE, QUESTIONS, Results
from uqlib.study.words import contrast_text, label

Ruling = Literal["upheld", "contradicted", "undecided"]
SINGLE = PAPER[1:]
GOOD: tuple[Outcome, ...] = ("better", "equivalent")


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """A sentence of the study, what decides it, and the contrasts that this rests on."""

    claim: str
    test: str  # what is asked of a system, and what decides
    rule: Callable[[Ask], Ruling]  # of outcome(method, rival, domain)
    rests_on: tuple[tuple[str, str, str], ...]  # (method, rival, domain)
    measure: str = ALL


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What became of one conclusion, system by system."""

    claim: str
    test: str
    rulings: Mapping[str, Ruling]  # system -> ruling
    evidence: Mapping[str, str]  # system -> the contrasts that decide, in words
    few: Mapping[str, str] = field(default_factory=dict)  # system -> how many seeds, where these are too few for any


def _consistency(outcome: Ask) -> Ruling:
    seen = {m: [outcome(m, "ensemble", domain) for domain in DOMAINS] for m in SINGLE}
    if any("better" in found and all(o in GOOD for o in found) for found in seen.values()):
        return "contradicted"
    return "upheld" if all("worse" in found for found in seen.values()) else "undecided"


def _generalisation(outcome: Ask) -> Ruling:
    seen = [outcome("ensemble", rival, OUTSIDE) for rival in SINGLE]
    if any(o in ("worse", "equivalent") for o in seen):
        return "contradicted"
    return "upheld" if all(o == "better" for o in seen) else "undecided"


def _in_domain_only(outcome: Ask) -> Ruling:
    inside, outside = (outcome("mve", "ensemble", domain) for domain in DOMAINS)
    if inside == "worse" or outside in GOOD:
        return "contradicted"
    return "upheld" if inside in GOOD and outside == "worse" else "undecided"


def _mixture_outside(outcome: Ask) -> Ruling:
    seen = [outcome("gmm", rival, OUTSIDE) for rival in ("mve", "evidential")]
    if any(o in ("worse", "equivalent") for o in seen):
        return "contradicted"
    return "upheld" if all(o == "better" for o in seen) else "undecided"


def _evidential_never(outcome: Ask) -> Ruling:
    rivals = [m for m in PAPER if m != "evidential"]
    seen = [[outcome("evidential", rival, domain) for rival in rivals] for domain in DOMAINS]
    if any(all(o == "better" for o in found) for found in seen):
        return "contradicted"
    return "upheld" if all("worse" in found for found in seen) else "undecided"


CONSISTENCY = Conclusion(
    claim="Uncertainty from a single model does not consistently outperform an ensemble.",
    test="Upheld if each of the three single-model methods is worse than the ensemble in domain, or out of it, or "
    "both. Contradicted if one of them is better in one of the two, and better or equivalent in the other.",
    rule=_consistency,
    rests_on=tuple((m, "ensemble", domain) for m in SINGLE for domain in DOMAINS),
)
GENERALISATION = Conclusion(
    claim="Ensembling generalises best.",
    test="Force errors (MAE) out of domain. Upheld if the ensemble's are smaller than those of MVE, of evidential "
    "regression and of the plain network under the GMM. Contradicted if they are larger than one of these, or "
    "equivalent to it.",
    rule=_generalisation,
    rests_on=tuple(("ensemble", rival, OUTSIDE) for rival in SINGLE),
    measure="accuracy",
)
IN_DOMAIN_ONLY = Conclusion(
    claim="Mean-variance estimation is good only in domain.",
    test="Good is what is better than the ensemble, or equivalent to it. Upheld if MVE is good in domain and worse out "
    "of it. Contradicted if it is worse in domain, or good out of it.",
    rule=_in_domain_only,
    rests_on=tuple(("mve", "ensemble", domain) for domain in DOMAINS),
)
MIXTURE = Conclusion(
    claim="The Gaussian mixture is better out of domain.",
    test="Upheld if GMM is better out of domain than both of the other single-model methods. Contradicted if it is "
    "worse than one of them, or equivalent to it.",
    rule=_mixture_outside,
    rests_on=tuple(("gmm", rival, OUTSIDE) for rival in ("mve", "evidential")),
)
EVIDENTIAL = Conclusion(
    claim="Evidential regression is never the preferable method.",
    test="Upheld if in domain, and out of it, one of the other three is better. Contradicted if in one of the two it "
    "is better than all three.",
    rule=_evidential_never,
    rests_on=tuple(("evidential", m, domain) for domain in DOMAINS for m in PAPER if m != "evidential"),
)


def no_winner(answers: Answers) -> tuple[Ruling, str]:
    """No method wins on every metric. Nobody is chosen first, so that nothing is tested on what chose it."""
    asked = [(question, domain) for question in QUESTIONS for domain in DOMAINS]
    beaten: dict[str, list[str]] = {m: [] for m in PAPER}
    sweeping = []
    for method in PAPER:
        rivals = [m for m in PAPER if m != method]
        seen = {each: answers.outcomes(each[0], method, rivals, each[1:]) for each in asked}
        beaten[method] = [f"{question} {domain}" for (question, domain), found in seen.items() if "worse" in found]
        level = all(o in GOOD for found in seen.values() for o in found)
        ahead = all(any(found[k] == "better" for found in seen.values()) for k in range(len(rivals)))
        sweeping += [method] if level and ahead else []
    told = [f"{label(m)} in {len(w)} of {len(asked)} (first: {w[0]})" for m, w in beaten.items() if w]
    ruling: Ruling = "contradicted" if sweeping else "upheld" if all(beaten.values()) else "undecided"
    return ruling, f"Beaten: {', '.join(told) or 'none'}."


NO_WINNER = (
    "No method wins on every metric.",
    f"{len(QUESTIONS)} questions, in domain and out of it. Upheld if each of the four methods is worse than another of "
    "them in at least one. Contradicted if one method is better or equivalent throughout, and better than each of the "
    "others somewhere.",
)
ROBUSTNESS = "Ensembling gives the most robust potentials."


def findings(results: Results, found: Judged | None = None, robustness: Finding | None = None) -> list[Finding]:
    """All conclusions in turn; `robustness` comes from the campaign of loops, and is undecided without one.

    Raises ValueError where no block is complete.
    """
    if not results.blocks:
        raise ValueError("results: no block is complete; run `python -m uqlib study` first")
    found = judged(results) if found is None else found
    systems = {system: Answers(found[system]) for system in results.systems}
    swept = {system: no_winner(answers) for system, answers in systems.items()}
    everywhere = Finding(
        claim=NO_WINNER[0],
        test=NO_WINNER[1],
        rulings={system: ruling for system, (ruling, _) in swept.items()},
        evidence={system: text for system, (_, text) in swept.items()},
    )
    no_dynamics = Finding(claim=ROBUSTNESS, test="Needs the campaign of loops.", rulings={}, evidence={})
    others = (IN_DOMAIN_ONLY, MIXTURE, EVIDENTIAL, *at_equal_cost(results))
    return [
        _put(CONSISTENCY, systems),
        everywhere,
        _put(GENERALISATION, systems),
        robustness or no_dynamics,
        *(_put(conclusion, systems) for conclusion in others),
    ]


def at_equal_cost(results: Results) -> list[Conclusion]:
    """Whether ensembling generalises best beside single networks that cost as much, where the grid has such."""
    rivals = [method for method in results.grid.methods if method in results.grid.variants]

    def rule(outcome: Ask) -> Ruling:
        seen = [outcome("ensemble", rival, OUTSIDE) for rival in rivals]
        if any(o in ("worse", "equivalent") for o in seen):
            return "contradicted"
        return "upheld" if all(o == "better" for o in seen) else "undecided"

    told = Conclusion(
        claim="At equal cost, too, ensembling generalises best.",
        test="No conclusion of the study, but a question to one. Force errors out of domain: upheld if the ensemble's "
        "are smaller than those of single networks that took as much processor time, trained for longer or wider. "
        "Contradicted if they are larger than one of these, or equivalent to it.",
        rule=rule,
        rests_on=tuple(("ensemble", rival, OUTSIDE) for rival in rivals),
        measure="accuracy",
    )
    return [told] if rivals else []


def _put(conclusion: Conclusion, systems: Mapping[str, Answers]) -> Finding:
    return Finding(
        claim=conclusion.claim,
        test=conclusion.test,
        rulings={system: conclusion.rule(asking(a, conclusion.measure)) for system, a in systems.items()},
        evidence={system: _tell(conclusion, answers) for system, answers in systems.items()},
    )


def _tell(conclusion: Conclusion, answers: Answers) -> str:
    known = [(m, r, d, answers.contrast(conclusion.measure, m, r, d)) for m, r, d in conclusion.rests_on]
    return "; ".join(contrast_text(m, r, d, *c, ratio=conclusion.measure == "accuracy") for m, r, d, c in known if c)


def by_measure(results: Results, found: Judged | None = None) -> dict[str, dict[str, dict[str, Ruling]]]:
    """Claim -> measure -> system -> ruling: what each ruling about uncertainties would be if only that were asked."""
    found = judged(results) if found is None else found
    table: dict[str, dict[str, dict[str, Ruling]]] = {}
    for conclusion in (CONSISTENCY, IN_DOMAIN_ONLY, MIXTURE, EVIDENTIAL):
        for measure in SETS:
            rulings: dict[str, Ruling] = {
                s: conclusion.rule(asking(Answers(found[s]), measure)) for s in results.systems
            }
            table.setdefault(conclusion.claim, {})[measure] = rulings
    return table


def counted(rulings: Mapping[str, Ruling]) -> str:
    """On how many systems: "upheld on 2 of 3 systems, undecided on 1"."""
    many = Counter(rulings.values())
    told = [f"{ruling} on {count}" for ruling, count in many.most_common()]
    return f"{told[0]} of {len(rulings)} systems{''.join(f', {each}' for each in told[1:])}" if told else "undecided"
