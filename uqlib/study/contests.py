"""Methods of the study against each other, block by block (one seed on one system): what conclusions are drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from uqlib.study.grid import REGIMES
from uqlib.study.results import Results
from uqlib.study.statistics import Pair, pairs
from uqlib.study.words import name_of

PAPER = ("ensemble", "mve", "evidential", "gmm")
"""The methods of the study by Tan et al.; its conclusions are about these, and so are the ranks that test them."""

OUT = ("near", "far")


def among(results: Results, methods: Sequence[str]) -> Results:
    """The same results with some methods only: ranks are then ranks among these."""
    chosen = tuple(method for method in results.grid.methods if method in methods)
    return Results(grid=replace(results.grid, methods=chosen), cells=results.cells, stale=results.stale)


def of_systems(results: Results, systems: Iterable[str]) -> Results:
    """The same results of some systems only."""
    chosen = {system: results.grid.systems[system] for system in systems}
    return Results(grid=replace(results.grid, systems=chosen), cells=results.cells, stale=results.stale)


def overall_pairs(
    results: Results, asked: Iterable[tuple[str, str, Sequence[str]]]
) -> dict[tuple[str, str, str], Pair]:
    """(method, rival, regimes) -> how the method's rank over all questions about uncertainty compares.

    Corrected together for all that is asked. Positive medians: ranks by which the method is better. Regimes without
    blocks are left out.
    """
    differences = {}
    for method, rival, regimes in asked:
        found = results.overall_ranks(regimes)
        if len(found):
            a, b = (results.grid.methods.index(name) for name in (method, rival))
            differences[method, rival, name_of(regimes)] = found[:, b] - found[:, a]
    return pairs(differences)  # pyright: ignore[reportArgumentType, reportReturnType]


def accuracy_pairs(results: Results, method: str, rivals: Iterable[str], regimes: Sequence[str]) -> dict[str, Pair]:
    """Rival -> how the method's force errors compare with its own: medians of log ratios, positive if smaller."""
    found = results.answers("accuracy", regimes)
    column = results.grid.methods.index
    return pairs({rival: found[:, column(method)] - found[:, column(rival)] for rival in rivals})


def later_methods(results: Results) -> dict[tuple[str, str, str], Pair]:
    """The methods that the study did not have, each against the ensemble in each regime; ranks among all methods."""
    later = [method for method in results.grid.methods if method not in PAPER]
    return overall_pairs(results, [(m, "ensemble", (regime,)) for m in later for regime in REGIMES])


def outcome_of(found: Mapping[tuple[str, str, str], Pair], method: str, rival: str, where: str) -> str:
    """Of the method against its rival where they met, in the words of `name_of`."""
    return found[method, rival, where].outcome if (method, rival, where) in found else "not told apart"
