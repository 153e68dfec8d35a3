"""The zero that a network counts its energies from: the energies of its elements, the size of its forces, and doubt.

Where the training set leaves energies of elements open, the network does not know totals of other compositions, however
sure it is of everything else. That doubt goes into the uncertainty of the energy, as one more independent error.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from uqlib.networks.painn import PaiNN
from uqlib.structures.batch import Batch
from uqlib.structures.dataset import Dataset
from uqlib.structures.element_energies import fit
from uqlib.structures.notices import say

RELATIVE = 1e-6  # of the doubt's size: less is round-off


def set_reference(model: PaiNN, train: Dataset) -> None:
    """Give `model` the energies of its elements, by least squares over `train`, and the scale of the forces.

    Energies that `train.E0` gives, and those of isolated atoms in `train`, are taken as they are. The network then
    explains what is left, in units of its own size. Elements that always occur in the same proportion share the energy
    evenly (the smallest solution), which predicts the same totals; what that leaves open is kept as doubt.
    """
    found = fit(train.atoms, model.recipe["elements"], train.E0)
    model.atom_energies.copy_(torch.as_tensor(found.energies))
    model.doubt.copy_(torch.as_tensor(found.doubt))
    forces = [f.calc.results["forces"] for f, there in zip(train.atoms, train.known("forces"), strict=True) if there]  # pyright: ignore[reportOptionalMemberAccess]
    squares = np.concatenate(forces) ** 2 if forces else np.ones(1)
    model.scale.fill_(float(np.sqrt(np.mean(squares))) or 1.0)


def doubtful(model: object, batch: Batch, deviation: Tensor) -> Tensor:
    """(S,) eV standard deviations of energies, with the doubt of compositions that training did not determine.

    Says so in a `DataWarning` where there is any; else returns what it was given.
    """
    if not isinstance(model, PaiNN) or not bool(model.doubt.any()):
        return deviation
    doubt = model.doubt if model.members is None else model.doubt[0]
    kinds = torch.nn.functional.one_hot(model.species(batch.atomic_numbers), doubt.shape[-1]).double()
    counts = kinds.new_zeros(batch.n_structures, kinds.shape[1]).index_add(0, batch.structure_of_atom, kinds)
    open_ = (counts @ doubt).norm(dim=1)
    outside = open_ > RELATIVE * doubt.abs().max() * counts.sum(1)
    if not bool(outside.any()):
        return deviation
    worst = int(open_.argmax())
    say(
        f"{int(outside.sum())} of {batch.n_structures} structures have compositions whose energy the training set does "
        f"not determine (up to ± {float(open_[worst]):.3g} eV, which the uncertainty includes); add isolated atoms or "
        "other compositions to the training set, or give E0",
        depth=3,
    )
    return torch.where(outside, (deviation.square() + open_.square()).sqrt(), deviation)
