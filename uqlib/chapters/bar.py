"""The bar that an uncertainty has to clear: how well novelty alone ranks the errors of one network, split by split.

The same table in the chapters on data. The chapters on methods put their uncertainties beside it: `novelty`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from uqlib import metrics
from uqlib.chapters.baseline import SplitErrors
from uqlib.chapters.novelty import independent
from uqlib.metrics import Estimate
from uqlib.show import plots
from uqlib.show.plots import SortableTable
from uqlib.structures.datasets import Dataset
from uqlib.study import scoring

HEADS = ("split", "structures", "error (meV/Å)", "rank: novelty", "find: novelty")


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The novelty as a ranking of the structures of a split by their errors."""

    structures: int
    error: float  # meV/Å, root mean square over the force components of all structures
    rank: Estimate  # Spearman correlation of the novelty with the error of a structure
    find: float  # ROC-AUC of the novelty for the tenth of the structures with the largest errors


@dataclass(frozen=True, kw_only=True)
class Bar:
    """All rankings, split -> numbers. Shown by Jupyter as a table."""

    rankings: Mapping[str, Ranking]

    def __getitem__(self, split: str) -> Ranking:
        return self.rankings[split]

    def table(self) -> SortableTable:
        """A row for each split."""
        rows = [(name, r.structures, r.error, str(r.rank), r.find) for name, r in self.rankings.items()]
        caption = "Novelty as a ranking of structures: Spearman correlation (rank), ROC-AUC of the worst tenth (find)"
        return plots.sortable_table(HEADS, rows, digits=(0, 0, 0, 2, 2), caption=caption)

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def __repr__(self) -> str:
        return repr(self.table())


def novelty_alone(
    data: Dataset, errors: Mapping[str, SplitErrors], novelty: Mapping[str, ArrayLike], *, splits: Sequence[str]
) -> Bar:
    """Score the novelty as a ranking of structures by their root mean square force error.

    The error bars are those of a bootstrap in which correlated frames are drawn together, and so are the mirror images
    of molecules. A split of a single trajectory is resampled frame by frame, and its error bars are too small.

    Args:
        data: with the splits.
        errors: of one network, as from `baseline.split_errors`.
        novelty: split -> (S,) distance of each structure to the nearest one of the training set, in any unit.
        splits: in the order of the table.

    Raises:
        KeyError: a split that `data`, `errors` or `novelty` does not have.
        UndefinedMetric: a split of equal errors or equal novelties.
    """
    return Bar(
        rankings={name: _ranking(errors[name], torch.as_tensor(novelty[name]), _groups(data[name])) for name in splits}
    )


def _ranking(errors: SplitErrors, novelty: Tensor, groups: Tensor) -> Ranking:
    error = errors.structure_error
    return Ranking(
        structures=errors.structures,
        error=1000 * float(error.square().mean().sqrt()),
        rank=metrics.bootstrap(metrics.spearman, error, novelty, groups=groups, resamples=200),
        find=float(metrics.roc_auc(error, novelty, threshold=float(error.quantile(0.9)))),
    )


def _groups(data: Dataset) -> Tensor:
    """(S,) integers, equal for structures that are resampled together."""
    periodic = any(atoms.pbc.any() for atoms in data.atoms)
    return scoring.groups_of(data)[0] if periodic else independent(data)
