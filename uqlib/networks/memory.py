"""How many pairs of neighbours a network can take at once: batches are counted in pairs, since memory is.

Each pair has its numbers in each layer, `features` wide and about a dozen of them alive at a time. Structures are small
or large; their number says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from uqlib.common.devices import free_memory
from uqlib.networks.evaluation import OtherNetwork
from uqlib.networks.painn import PaiNN
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset
from uqlib.structures.pieces import pieces

PREDICTING = 600_000_000  # bytes for one batch of a prediction, where nobody asks for another limit
FITTING = 2_000_000_000  # bytes for one batch of a pass over training data
SHARE_OF_CPU, SHARE_OF_GPU = 0.25, 0.5  # of the memory that is free; a GPU serves nobody else as a rule
UNKNOWN = 12_000  # bytes a pair, of a network that does not say


def bytes_per_pair(model: object) -> int:
    """Bytes that one directed pair takes while energies and forces are made: `PaiNN` by its sizes.

    Others by what they say themselves, an attribute `bytes_per_pair`, or by a guess.
    Counted with `study.costs.peak_memory`, and rounded up; atoms without neighbours are counted as two pairs.
    """
    if not isinstance(model, PaiNN):
        return int(getattr(model, "bytes_per_pair", None) or UNKNOWN)
    recipe = model.recipe
    return 12 * (recipe["features"] + 8) * recipe["interactions"] * model.dtype.itemsize


def most_pairs(of_pair: int, device: torch.device, *, memory: float | None = None, largest: int = PREDICTING) -> int:
    """Pairs that a batch may have: those that take `memory` GB.

    Without it, on a CPU: `largest` bytes, or a quarter of what the machine has free where that is less, so that the
    batches are the same on most machines. On a GPU: half of what is free there. Raises ValueError for no memory.
    """
    if memory is not None and not memory > 0:
        raise ValueError(f"memory: got {memory}, expected GB above 0")
    if memory is not None:
        limit = memory * 1e9
    elif device.type == "cuda":
        limit = SHARE_OF_GPU * free_memory(device)
    else:
        limit = min(largest, SHARE_OF_CPU * free_memory(device))
    return max(int(limit / of_pair), 1)


def pieces_of(
    model: PaiNN | OtherNetwork, data: Dataset, *, structures: int = 100, largest: int = FITTING, labels: bool = True
) -> Iterator[Batch]:
    """All of `data`, with its labels, as batches for `model`: of at most `structures`, and no larger than memory holds.

    `largest` in bytes, as in `most_pairs`. With `labels=False` nobody looks at labels.
    """
    most = most_pairs(bytes_per_pair(model), model.device, largest=largest)
    options = {"cutoff": model.cutoff, "dtype": model.dtype, "device": model.device}
    return pieces(data, structures=structures, max_pairs=most, labels=labels, **options)
