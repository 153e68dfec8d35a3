"""What stands in an exported file: TorchScript that takes an engine's structures and answers its requests.

Only `metatomic.write` imports this file, since it needs the extra `engines`. TorchScript compiles the class below, and
reads its annotations as they are: no postponed ones here, and the plain language that it understands.
"""

import math
from typing import Dict, List, NamedTuple, Optional, Tuple  # noqa: UP035 - TorchScript wants these

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap  # pyright: ignore[reportMissingImports]
from metatomic.torch import ModelOutput, NeighborListOptions, System  # pyright: ignore[reportMissingImports]
from torch import Tensor


class Rows(NamedTuple):
    """Which atoms an output speaks of."""

    structure_of_atom: Tensor  # (N,)
    atom: Tensor  # (N,)  its number within its structure
    chosen: Tensor  # (n,)  those of the N that the engine asks for
    n_structures: int


class EngineModule(torch.nn.Module):
    """S structures in, outputs by name: all in float64, whatever the network computes in."""

    species_of_number: Tensor
    atom_energies: Tensor
    samples: Tensor
    frequency: Tensor
    like: Tensor

    def __init__(
        self,
        terms: torch.nn.Module,
        *,
        species_of_number: Tensor,
        atom_energies: Tensor,
        samples: Tensor,
        cutoff: float,
        radial: int,
        dtype: torch.dtype,
    ) -> None:
        """`terms`: a traced `AtomTerms`; `atom_energies` (M, kinds) eV; `samples` (K, number of members)."""
        super().__init__()
        self.terms = terms
        self.register_buffer("species_of_number", species_of_number.clone())
        self.register_buffer("atom_energies", atom_energies.clone())
        self.register_buffer("samples", samples.clone())
        self.register_buffer("frequency", torch.arange(1, radial + 1, dtype=torch.float64) * (math.pi / cutoff))
        self.register_buffer("like", torch.zeros((), dtype=dtype))
        self.cutoff = float(cutoff)
        self.networks, self.kinds = int(atom_energies.shape[0]), int(atom_energies.shape[1])

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:  # noqa: UP006
        """Asked for by the engine."""
        return [NeighborListOptions(cutoff=self.cutoff, full_list=True, strict=True)]

    def forward(
        self,
        systems: List[System],  # noqa: UP006
        outputs: Dict[str, ModelOutput],  # noqa: UP006
        selected_atoms: Optional[Labels],  # noqa: UP045
    ) -> Dict[str, TensorMap]:  # noqa: UP006
        """The requested `outputs`, of the selected atoms alone where some are."""
        results = torch.jit.annotate(Dict[str, TensorMap], {})  # noqa: UP006
        if len(systems) == 0 or len(outputs) == 0:
            return results
        numbers, pairs, vectors, rows = self.gather(systems, selected_atoms)
        energy, features, deviations, spread = self.of_atoms(numbers, pairs, vectors)
        mean = energy.mean(0).unsqueeze(1)
        for name, asked in outputs.items():
            per_atom = asked.sample_kind == "atom"
            if name == "energy":
                results[name] = self.block(self.summed(mean, rows, per_atom), rows, per_atom, "energy")
            elif name == "energy_ensemble":
                members = energy.transpose(0, 1) if self.networks > 1 else mean + deviations @ self.samples
                results[name] = self.block(self.summed(members, rows, per_atom), rows, per_atom, "energy")
            elif name == "energy_uncertainty":
                sigma = self.energy_uncertainty(energy, deviations, spread, rows, per_atom)
                results[name] = self.block(sigma, rows, per_atom, "energy")
            elif name == "feature":
                results[name] = self.block(self.summed(features, rows, per_atom), rows, per_atom, "feature")
            elif name == "uqlib::force_uncertainty":
                results[name] = self.block(self.summed(spread[:, :1], rows, True), rows, True, "force_uncertainty")
        return results

    def gather(
        self,
        systems: List[System],  # noqa: UP006
        selected_atoms: Optional[Labels],  # noqa: UP045
    ) -> Tuple[Tensor, Tensor, Tensor, Rows]:  # noqa: UP006
        """All structures as one: numbers (N,), pairs (2, E), vectors (E, 3) Å."""
        request = self.requested_neighbor_lists()[0]
        numbers: List[Tensor] = []  # noqa: UP006
        pairs: List[Tensor] = []  # noqa: UP006
        vectors: List[Tensor] = []  # noqa: UP006
        structure: List[Tensor] = []  # noqa: UP006
        atom: List[Tensor] = []  # noqa: UP006
        chosen: List[Tensor] = []  # noqa: UP006
        start = 0
        for index, system in enumerate(systems):
            found = system.get_neighbor_list(request)
            i, j = found.samples.column("first_atom"), found.samples.column("second_atom")
            size, types = len(system), system.types.to(torch.long)
            own = torch.arange(size, device=types.device)
            numbers.append(types)
            pairs.append(torch.stack([i, j]).to(torch.long) + start)
            vectors.append(found.values.reshape(-1, 3).to(torch.float64))
            structure.append(torch.full_like(types, index))
            atom.append(own)
            if selected_atoms is not None:
                here = selected_atoms.column("system") == index
                own = torch.unique(selected_atoms.column("atom")[here].to(torch.long))
            chosen.append(own + start)
            start += size
        rows = Rows(torch.cat(structure), torch.cat(atom), torch.cat(chosen), len(systems))
        return torch.cat(numbers), torch.cat(pairs, dim=1), torch.cat(vectors), rows

    def of_atoms(self, numbers: Tensor, pairs: Tensor, vectors: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:  # noqa: UP006
        """Energies (M, N), features (N, F), deviations (N, K) and spread (N, 2 or 0) of all atoms, in float64."""
        distance = vectors.square().sum(-1, keepdim=True).sqrt()
        wave = (self.frequency * distance).sin() / distance
        damping = 0.5 * ((distance * (math.pi / self.cutoff)).cos() + 1)
        basis = torch.cat([wave * damping, damping], dim=-1).to(self.like.dtype)
        direction = (vectors / distance).to(self.like.dtype)
        species = self.species_of_number.index_select(0, numbers)
        member = torch.arange(self.networks, device=numbers.device).unsqueeze(1)
        energy, features, deviations, spread = self.terms(  # pyright: ignore[reportCallIssue]
            (species + member * self.kinds).flatten(),
            (pairs.unsqueeze(1) + member * numbers.shape[0]).flatten(1),
            basis.repeat(self.networks, 1),
            direction.repeat(self.networks, 1),
        )
        energy = energy.to(torch.float64) + self.atom_energies.index_select(1, species)
        features = features.transpose(0, 1).flatten(1).to(torch.float64)
        return energy, features, deviations.to(torch.float64), spread.to(torch.float64)

    def energy_uncertainty(
        self, energy: Tensor, deviations: Tensor, spread: Tensor, rows: Rows, per_atom: bool
    ) -> Tensor:
        """(S, 1) or (n, 1) standard deviations, eV."""
        if self.networks > 1:
            variance = self.summed(energy.transpose(0, 1), rows, per_atom).var(1, keepdim=True) + 1e-16
        elif deviations.shape[1] > 0:
            variance = self.summed(deviations, rows, per_atom).square().sum(1, keepdim=True) + 1e-16
        else:
            variance = self.summed(spread[:, 1:].square(), rows, per_atom)
        return variance.sqrt()

    def summed(self, values: Tensor, rows: Rows, per_atom: bool) -> Tensor:
        """Those of the chosen atoms (n, P), or their sums over each structure (S, P)."""
        chosen = values.index_select(0, rows.chosen)
        if per_atom:
            return chosen
        start = torch.zeros(rows.n_structures, values.shape[1], dtype=values.dtype, device=values.device)
        return start.index_add(0, rows.structure_of_atom.index_select(0, rows.chosen), chosen)

    def block(self, values: Tensor, rows: Rows, per_atom: bool, name: str) -> TensorMap:
        """Values (n, P) as engines want them."""
        device = values.device
        if per_atom:
            own = torch.stack([rows.structure_of_atom, rows.atom], dim=1).index_select(0, rows.chosen)
            samples = Labels(["system", "atom"], own.to(torch.int32))
        else:
            own = torch.arange(rows.n_structures, device=device).unsqueeze(1)
            samples = Labels(["system"], own.to(torch.int32))
        columns = torch.arange(values.shape[1], dtype=torch.int32, device=device).unsqueeze(1)
        components: List[Labels] = []  # noqa: UP006
        block = TensorBlock(values, samples, components, Labels([name], columns))
        return TensorMap(Labels(["_"], torch.zeros(1, 1, dtype=torch.int32, device=device)), [block])
