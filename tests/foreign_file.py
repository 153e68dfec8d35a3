"""A metatomic file as somebody else would write it: other units, half and full lists, members; and what it says.

Imported inside tests, since it needs the extra `engines`; TorchScript reads its annotations as they are.
"""

from pathlib import Path
from typing import Dict, List, Optional  # noqa: UP035 - TorchScript wants these

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap  # pyright: ignore[reportMissingImports]
from metatomic.torch import (  # pyright: ignore[reportMissingImports]
    AtomisticModel,
    ModelCapabilities,
    ModelMetadata,
    ModelOutput,
    NeighborListOptions,
    System,
)

from uqlib.structures.batch import Batch

SHORT, LONG = 3.0, 4.0  # Å, cutoffs of the two lists
WEIGHTS = [[90.0, -30.0, 60.0], [-40.0, 20.0, -10.0]]  # kJ/mol, of two features for three members
EV_PER_KJ_MOL = 0.01036426965


class Pairs(torch.nn.Module):
    """Energies linear in two sums over pairs, in nm and kJ/mol."""

    weights: torch.Tensor

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(WEIGHTS, dtype=dtype))

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:  # noqa: UP006
        return [
            NeighborListOptions(cutoff=0.1 * 3.0, full_list=False, strict=True),
            NeighborListOptions(cutoff=0.1 * 4.0, full_list=True, strict=True),
        ]

    def forward(
        self,
        systems: List[System],  # noqa: UP006
        outputs: Dict[str, ModelOutput],  # noqa: UP006
        selected_atoms: Optional[Labels],  # noqa: UP045
    ) -> Dict[str, TensorMap]:  # noqa: UP006
        found: List[torch.Tensor] = []  # noqa: UP006
        where: List[torch.Tensor] = []  # noqa: UP006
        requests = self.requested_neighbor_lists()
        for index, system in enumerate(systems):
            columns: List[torch.Tensor] = []  # noqa: UP006
            for k, request in enumerate(requests):
                pairs = system.get_neighbor_list(request)
                i, j = pairs.samples.column("first_atom"), pairs.samples.column("second_atom")
                near = torch.exp(-100.0 * pairs.values.reshape(-1, 3).square().sum(1))
                zero = torch.zeros(len(system), dtype=near.dtype, device=near.device)
                column = zero.index_add(0, i.to(torch.long), near)
                if k == 0:  # each pair stands there once
                    column = column.index_add(0, j.to(torch.long), near)
                columns.append(column)
            found.append(torch.stack(columns, dim=1))
            own = torch.arange(len(system), dtype=torch.int32, device=system.device)
            where.append(torch.stack([torch.full_like(own, index), own], dim=1))
        features, rows = torch.cat(found), torch.cat(where)
        members = features @ self.weights
        results: Dict[str, TensorMap] = {}  # noqa: UP006
        for name, asked in outputs.items():
            values = members if name == "energy_ensemble" else members.mean(1, keepdim=True)
            values = features if name == "feature" else values
            labels = Labels(["system", "atom"], rows)
            if asked.sample_kind == "system":
                total = torch.zeros(len(systems), values.shape[1], dtype=values.dtype, device=values.device)
                values = total.index_add(0, rows[:, 0].to(torch.long), values)
                labels = Labels(["system"], torch.arange(len(systems), dtype=torch.int32).reshape(-1, 1))
            kind = "feature" if name == "feature" else "energy"
            columns_of = Labels([kind], torch.arange(values.shape[1], dtype=torch.int32).reshape(-1, 1))
            components: List[Labels] = []  # noqa: UP006
            block = TensorBlock(values, labels, components, columns_of)
            results[name] = TensorMap(Labels(["_"], torch.zeros(1, 1, dtype=torch.int32)), [block])
        return results


EVERYTHING = ("energy", "energy_ensemble", "feature")


def write(path: Path, *, dtype: torch.dtype, outputs: tuple[str, ...] = EVERYTHING) -> Path:
    """The file, with these outputs."""
    units = {"energy": "kJ/mol", "energy_ensemble": "kJ/mol", "feature": ""}
    capabilities = ModelCapabilities(
        outputs={name: ModelOutput(unit=units[name], sample_kind="atom") for name in outputs},
        atomic_types=[1, 7, 8],
        interaction_range=0.4,
        length_unit="nm",
        supported_devices=["cpu"],
        dtype=str(dtype).removeprefix("torch."),
    )
    AtomisticModel(Pairs(dtype).eval(), ModelMetadata(name="pairs"), capabilities).save(path)
    return path


def features(batch: Batch) -> torch.Tensor:
    """(N, 2) what the file computes, in plain words: sums over neighbours within either cutoff."""
    square = batch.vectors().square().sum(1)
    near = torch.exp(-square)
    zero = near.new_zeros(batch.n_atoms)
    return torch.stack([zero.index_add(0, batch.pairs[0], near * (square < r**2)) for r in (SHORT, LONG)], dim=1)


def member_energies(batch: Batch) -> torch.Tensor:
    """(3, S) eV"""
    atoms = features(batch) @ torch.tensor(WEIGHTS, dtype=batch.positions.dtype) * EV_PER_KJ_MOL
    return atoms.new_zeros(batch.n_structures, 3).index_add(0, batch.structure_of_atom, atoms).mT
