"""How steeply the loss rises with the last layer's weights: exact, since energies and forces are linear in them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from uqlib.methods.shared.hidden_units import last_layer
from uqlib.networks.evaluation import OtherNetwork
from uqlib.networks.labels import learnable
from uqlib.networks.losses import EnergyForceLoss, known_cells, known_rows
from uqlib.networks.memory import pieces_of
from uqlib.networks.painn import PaiNN
from uqlib.structures.batch import LABELS, Batch
from uqlib.structures.datasets import Dataset

STRUCTURES_AT_ONCE = 50


def curvature(model: PaiNN | OtherNetwork, train: Dataset, loss: EnergyForceLoss) -> Tensor:
    """(H + 1, H + 1) half the second derivative of the loss by the last layer's weights and bias, times 3N / w_F.

    A sum of outer products of `rows`: one term for each force component, w_E/w_F · 3N/(S n²) for each energy of a
    structure with n atoms, and w_S/w_F · 3N/(9C) for each component of a stress, as in `EnergyForceLoss` taken over all
    of `train` at once, with forces on N atoms, S energies and C stresses. It is the precision of the weights where
    force labels have a noise of 1 eV/Å. Without any forces N counts all atoms.
    """
    of_energy, of_stress = _weights(train, loss)
    total = torch.zeros((), device=model.device)
    for batch in pieces_of(model, train, structures=STRUCTURES_AT_ONCE):
        energy, force, stress = _rows(model, batch, with_stress=bool(loss.stress_weight))
        structures, parts = known_rows(batch.energy, len(energy)), known_rows(batch.forces, batch.n_atoms)
        energy = energy / batch.atoms_per_structure[:, None]
        energy, force = energy[structures], force.unflatten(0, (-1, 3))[parts].flatten(0, 1)
        total = total + of_energy * energy.mT @ energy + force.mT @ force
        if stress is not None and batch.stress is not None:
            cells = stress[known_cells(batch)].flatten(0, 1)
            total = total + of_stress * cells.mT @ cells
    return total


def _weights(train: Dataset, loss: EnergyForceLoss) -> tuple[float, float]:
    """Of the square of an energy per atom, and of a component of the stress, where that of a force component is 1."""
    known = {label: learnable(train, label) for label in LABELS}
    sizes = np.array([len(frame) for frame in train.atoms])
    atoms = int(sizes[known["forces"]].sum()) or int(sizes.sum())
    energies, cells = (max(int(known[label].sum()), 1) for label in ("energy", "stress"))
    energy, stress = loss.energy_weight / loss.force_weight, loss.stress_weight / loss.force_weight
    return energy * 3 * atoms / energies, stress * 3 * atoms / (9 * cells)


def rows(model: PaiNN | OtherNetwork, batch: Batch) -> tuple[Tensor, Tensor]:
    """Derivatives by the last layer's weights and bias: of the energies (S, H + 1), of force components (3N, H + 1)."""
    return _rows(model, batch)[:2]


def _rows(
    model: PaiNN | OtherNetwork, batch: Batch, *, with_stress: bool = False
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The same, and of the components of the stress (S, 9, H + 1), nan without a volume."""
    found = last_layer(model, batch, strain=with_stress)
    energy = torch.cat([found.hidden, batch.atoms_per_structure[:, None].to(found.hidden)], dim=1)
    force = torch.nn.functional.pad(-found.slopes.flatten(1).mT, (0, 1))  # a constant exerts no force
    stress = None
    if found.strain is not None:
        stress = model.scale * torch.nn.functional.pad(found.strain.flatten(2).permute(1, 2, 0), (0, 1))
    return model.scale * energy, model.scale * force, stress
