"""schnetpack's PaiNN, set up as its users do: `NeuralNetworkPotential` with distances, atomwise energy and forces."""

from __future__ import annotations

import typing
from collections.abc import Sequence

import torch
import torch.utils.data.dataloader
from torch import Tensor, nn

from uqlib.structures.batch import Batch

if not hasattr(torch.utils.data.dataloader, "T_co"):  # schnetpack 2.1.1 looks for it; torch 2.13 no longer has it
    torch.utils.data.dataloader.T_co = typing.TypeVar("T_co", covariant=True)  # pyright: ignore

import schnetpack  # pyright: ignore[reportMissingImports]
from schnetpack import properties  # pyright: ignore[reportMissingImports]
from schnetpack.data.loader import _atoms_collate_fn  # pyright: ignore[reportMissingImports]


def potential(*, features: int, interactions: int = 3, radial: int = 20, cutoff: float = 5.0) -> nn.Module:
    """Energy (eV) and forces (eV/Å) from prebuilt neighbour lists; 589,057 parameters at 128 features."""
    representation = schnetpack.representation.PaiNN(
        n_atom_basis=features,
        n_interactions=interactions,
        radial_basis=schnetpack.nn.BesselRBF(n_rbf=radial, cutoff=cutoff),
        cutoff_fn=schnetpack.nn.CosineCutoff(cutoff),
    )
    return schnetpack.model.NeuralNetworkPotential(
        representation=representation,
        input_modules=[schnetpack.atomistic.PairwiseDistances()],
        output_modules=[
            schnetpack.atomistic.Atomwise(n_in=features, output_key=properties.energy),
            schnetpack.atomistic.Forces(),
        ],
    )


def inputs(batch: Batch) -> dict[str, Tensor]:
    """The same structures and the same pairs in schnetpack's dictionary."""
    offsets = batch.shifts.unsqueeze(1) @ batch.cell[batch.structure_of_atom[batch.pairs[0]]]
    return {
        properties.Z: batch.atomic_numbers,
        properties.R: batch.positions.clone(),
        properties.idx_m: batch.structure_of_atom,
        properties.n_atoms: batch.atoms_per_structure,
        properties.idx: torch.arange(batch.n_structures),
        properties.idx_i: batch.pairs[0],
        properties.idx_j: batch.pairs[1],
        properties.offsets: offsets[:, 0],
        properties.cell: batch.cell,
        properties.pbc: (batch.cell.abs().sum(-1) > 0).flatten(),
    }


def run(model: nn.Module, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Energies (S,) and forces (N, 3); the model writes into its dictionary, so it gets a copy."""
    result = model(dict(given))
    return result["energy"], result["forces"]


def singles(batches: Sequence[Batch]) -> list[dict[str, Tensor]]:
    """One dictionary a structure, with labels: what its data loader hands to `collate`."""
    found = []
    for batch in batches:
        assert batch.energy is not None
        assert batch.forces is not None
        found.append(inputs(batch) | {"energy": batch.energy.float(), "forces": batch.forces})
    return found


def collate(chosen: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """schnetpack's own collation, structure by structure."""
    return _atoms_collate_fn(chosen)
