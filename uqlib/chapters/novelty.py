"""The rival that costs nothing, scored beside uncertainties: how far a structure is from the nearest one of `train`.

The same table in every chapter on methods, for molecules; the novelty is that of the chapter `ammonia`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from uqlib import metrics
from uqlib.attack.objective import structure_uncertainty
from uqlib.metrics import Estimate
from uqlib.prediction import Predictor, predict
from uqlib.show import plots
from uqlib.show.plots import SortableTable
from uqlib.structures import descriptors
from uqlib.structures.datasets import Dataset
from uqlib.study import scoring

HEADS = ("split", "method", "error (meV/Å)", "rank: σ", "rank: novelty", "better by", "find: σ", "find: novelty", "by")


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """One method and the novelty on one split. Both are rankings of structures by the same errors, the method's own."""

    error: float  # meV/Å, root mean square over the force components of all structures
    rank: float  # Spearman correlation of the uncertainty with the error of a structure
    rank_of_novelty: float
    rank_gain: Estimate  # the first less the second: above zero, the uncertainty is better
    detection: float  # ROC-AUC of the uncertainty for the tenth of the structures with the largest errors
    detection_of_novelty: float
    detection_gain: Estimate


@dataclass(frozen=True, kw_only=True)
class AgainstNovelty:
    """All meetings, (method, split) -> numbers. Shown by Jupyter as a table."""

    meetings: Mapping[tuple[str, str], Meeting]

    def __getitem__(self, key: tuple[str, str]) -> Meeting:
        return self.meetings[key]

    def table(self) -> SortableTable:
        """A row for each method on each split."""
        rows = [
            (
                *(split, method, m.error),
                *(m.rank, m.rank_of_novelty, _signed(m.rank_gain)),
                *(m.detection, m.detection_of_novelty, _signed(m.detection_gain)),
            )
            for (method, split), m in self.meetings.items()
        ]
        caption = "Uncertainty σ against novelty: Spearman correlation (rank), ROC-AUC of the worst tenth (find)"
        return plots.sortable_table(HEADS, rows, digits=(0, 0, 0, 2, 2, 2, 2, 2, 2), caption=caption)

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def __repr__(self) -> str:
        return repr(self.table())


def against_novelty(
    predictors: Mapping[str, Predictor],
    data: Dataset,
    *,
    splits: Sequence[str] = ("test", "hot", "grid"),
    resamples: int = 100,
    seed: int = 0,
) -> AgainstNovelty:
    """Score the uncertainties of `predictors` and the novelty as rankings of structures by their force errors.

    A structure's error is the root mean square over its force components, its uncertainty that over its atoms (in
    nats the mean), its novelty the distance to the nearest structure of the split `train` in sorted inverse distances.
    The error bars of the differences are those of a bootstrap in which correlated frames, and mirror images, which
    the descriptors and the network cannot tell apart, are drawn together; nan where that leaves too few large errors.

    Args:
        predictors: what to call a method -> fitted.
        data: molecules of one formula, with labels and a split `train`.
        splits: to be scored on.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        KeyError: a split that `data` does not have.
        ValueError: structures that `descriptors.inverse_distances` cannot describe.
    """
    known = descriptors.inverse_distances(data["train"].atoms)
    found = {}
    for split in splits:
        described = descriptors.inverse_distances(data[split].atoms)
        novelty, groups = torch.as_tensor(descriptors.novelty(described, known)), independent(data[split])
        for method, predictor in predictors.items():
            error, uncertainty = _of_structures(predictor, data[split])
            tensors = error, uncertainty, novelty
            large = float(error.quantile(0.9))

            def detect(e: Tensor, u: Tensor, large: float = large) -> Tensor:
                return metrics.roc_auc(e, u, threshold=large)

            found[method, split] = Meeting(
                error=1000 * float(error.square().mean().sqrt()),
                rank=float(metrics.spearman(error, uncertainty)),
                rank_of_novelty=float(metrics.spearman(error, novelty)),
                rank_gain=_gain(metrics.spearman, *tensors, groups, resamples, seed),
                detection=float(detect(error, uncertainty)),
                detection_of_novelty=float(detect(error, novelty)),
                detection_gain=_gain(detect, *tensors, groups, resamples, seed),
            )
    return AgainstNovelty(meetings=found)


def independent(data: Dataset) -> Tensor:
    """(S,) integers, equal for structures that must be resampled together: correlated frames and mirror images."""
    group = scoring.groups_of(data)[0].numpy()
    described = descriptors.inverse_distances(data.atoms).round(4)  # 1/Å; mirror images differ by round-off
    twin = np.unique(described, axis=0, return_inverse=True)[1].ravel()
    # Each structure ties its group to its shape; what hangs together that way, directly or not, is drawn together.
    size = group.max() + 1 + twin.max() + 1
    ties = coo_matrix((np.ones(len(data)), (group, group.max() + 1 + twin)), shape=(size, size))
    return torch.as_tensor(connected_components(ties, directed=False)[1][group].astype(np.int64))


def _of_structures(predictor: Predictor, data: Dataset) -> tuple[Tensor, Tensor]:
    """(S,) root mean square force error in eV/Å, and (S,) uncertainty."""
    said, batch = predict(predictor, data), data.batch()
    assert batch.forces is not None
    square = metrics.atom_force_error(said.forces, batch.forces).double().square()
    total = square.new_zeros(len(data)).index_add(0, batch.structure_of_atom, square)
    return (total / batch.atoms_per_structure).sqrt(), structure_uncertainty(said, batch)


def _gain(
    metric: Callable[[Tensor, Tensor], Tensor],
    error: Tensor,
    uncertainty: Tensor,
    novelty: Tensor,
    groups: Tensor,
    resamples: int,
    seed: int,
) -> Estimate:
    """How much better the uncertainty does than the novelty, on the same resamples."""

    def gain(e: Tensor, u: Tensor, n: Tensor) -> Tensor:
        return metric(e, u) - metric(e, n)

    try:
        return metrics.bootstrap(gain, error, uncertainty, novelty, groups=groups, resamples=resamples, seed=seed)
    except metrics.UndefinedMetric:  # too few groups with a large error
        return metrics.bootstrap(gain, error, uncertainty, novelty, resamples=0)


def _signed(gain: Estimate) -> str:
    error = "" if np.isnan(gain.standard_error) else f" ± {gain.standard_error:.2f}"
    return f"{gain.value:+.2f}{error}"
