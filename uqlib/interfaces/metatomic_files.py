"""Metatomic files of others, as potentials of ours: `MetatomicPredictor` with their members, `MetatomicModel` without.

metatomic (https://docs.metatensor.org/metatomic) is the format in which several packages publish their potentials. A
file with `energy_ensemble` brings an uncertainty of its own. One with `feature` can be given one, by the methods that
come after training. Units are converted by the format; here everything is eV and Å.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from uqlib.common.devices import Target, targets
from uqlib.interfaces.metatomic import FORCE_UNCERTAINTY, needed
from uqlib.interfaces.model import ForeignModel, strained, stress_from
from uqlib.prediction import Members, Prediction
from uqlib.structures.batch import DEFAULT_CUTOFF, Batch


class MetatomicFile(nn.Module):
    """A file at work. What it computes in is its own affair: batches are brought to its type, and results back."""

    def __init__(self, path: str | Path) -> None:
        """Raises FileNotFoundError; ValueError for a file of another kind and without the extra `engines`."""
        super().__init__()
        self.path = Path(path)
        engines = needed("metatomic.torch")
        if not self.path.is_file():
            raise FileNotFoundError(2, "no such file", str(path))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as such
                self.model = engines.load_atomistic_model(self.path)
        except RuntimeError as error:
            raise ValueError(f"{path}: expected a file in the metatomic format ({error})") from error
        capabilities = self.model.capabilities()
        self.outputs = set(capabilities.outputs)
        self.elements = sorted(int(number) for number in capabilities.atomic_types)
        self.computes_in = getattr(torch, capabilities.dtype)
        self.requests = self.model.requested_neighbor_lists()
        reach = [float(request.engine_cutoff("angstrom")) for request in self.requests]
        self.cutoff = max(reach, default=DEFAULT_CUTOFF)
        self.register_buffer("like", torch.zeros((), dtype=self.computes_in), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MetatomicFile:
        """Behind `to`: another device moves the file, another type only what goes in and comes out."""
        self.like = fn(self.like)
        self.model.to(device=self.like.device)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> MetatomicFile:
        """The format's own objects cannot all be copied; they are never changed."""
        found = type(self).__new__(type(self))
        nn.Module.__init__(found)
        for name, value in self.__dict__.items():
            if name not in found.__dict__:
                found.__dict__[name] = value
        found.model = copy.deepcopy(self.model, memo)
        found.register_buffer("like", self.like.clone(), persistent=False)
        return found

    def forward(self, batch: Batch, asked: Mapping[str, str]) -> dict[str, Tensor]:
        """Outputs (S, P) or (N, P) by name, in eV and Å; `asked` says of each whether of a "system" or an "atom".

        Differentiable in positions and cell where these are.
        """
        engines = needed("metatomic.torch")
        units = {name: "eV/Angstrom" if name == FORCE_UNCERTAINTY else "eV" for name in asked} | {"feature": ""}
        outputs = {name: engines.ModelOutput(unit=units[name], sample_kind=kind) for name, kind in asked.items()}
        options = engines.ModelEvaluationOptions(length_unit="angstrom", outputs=outputs)
        found = self.model(self._systems(batch), options, check_consistency=False)
        return {name: _in_order(found[name].block(), batch, asked[name]) for name in asked}

    def _systems(self, batch: Batch) -> list[Any]:
        """The structures of a batch as the format wants them, with the pairs that it asks for."""
        engines, tensors = needed("metatomic.torch"), needed("metatensor.torch")
        exact = batch.to(self.computes_in)
        vectors, (i, j) = exact.vectors(), exact.pairs
        first = batch.atoms_per_structure.cumsum(0) - batch.atoms_per_structure
        structure = batch.structure_of_atom[i]
        distance = vectors.detach().square().sum(-1).sqrt()
        names = ["first_atom", "second_atom", "cell_shift_a", "cell_shift_b", "cell_shift_c"]
        device = vectors.device
        axes = tensors.Labels(["xyz"], torch.arange(3, dtype=torch.int32, device=device)[:, None])
        column = tensors.Labels(["distance"], torch.zeros(1, 1, dtype=torch.int32, device=device))
        systems = []
        for index in range(batch.n_structures):
            own = batch.structure_of_atom == index
            cell = exact.cell[index]
            system = engines.System(
                types=batch.atomic_numbers[own].to(torch.int32),
                positions=exact.positions[own],
                cell=cell,
                pbc=cell.detach().abs().sum(1) > 0,
            )
            for request in self.requests:
                near = (structure == index) & (distance < request.engine_cutoff("angstrom"))
                if not request.full_list:  # each pair once
                    near = near & (torch.arange(len(near), device=device) < batch.reverse)
                labels = torch.stack([i[near] - first[index], j[near] - first[index]], dim=1)
                samples = torch.cat([labels, batch.shifts[near].round().long()], dim=1).to(torch.int32)
                block = tensors.TensorBlock(vectors[near].unsqueeze(-1), tensors.Labels(names, samples), [axes], column)
                system.add_neighbor_list(request, block)
            systems.append(system)
        return systems


class MetatomicModel(ForeignModel):
    """A file with `feature` as a network for the methods after training: `fit_to(MetatomicModel("theirs.pt"), ...)`.

    Everything else as in `ForeignModel`. Batches are taken in the type that the file speaks, or that `to` was told.
    """

    def __init__(self, path: str | Path) -> None:
        """Raises ValueError for a file without features, else as `MetatomicFile`."""
        file = MetatomicFile(path)
        if not {"energy", "feature"} <= file.outputs:
            raise ValueError(
                f"{path}: got a file with the outputs {sorted(file.outputs)}, expected 'energy' and 'feature'; "
                "one with 'energy_ensemble' is read by MetatomicPredictor"
            )
        super().__init__(_EnergyAndFeatures(file), elements=file.elements, cutoff=file.cutoff)

    def _typical(self) -> Tensor:
        return self.module.file.like  # pyright: ignore[reportAttributeAccessIssue, reportReturnType]


class MetatomicPredictor:
    """A file with an uncertainty of its own: `energy_ensemble`, or what `export` writes for MVE and evidential.

    The energy is the file's `energy`, its uncertainty `energy_uncertainty`, or the spread of the members where the file
    has none. The uncertainty of an atom's force is the root of the mean over x, y, z of the members' variance.
    """

    def __init__(self, path: str | Path) -> None:
        """Raises ValueError for a file without members, else as `MetatomicFile`."""
        self.file = MetatomicFile(path)
        self.has_members = "energy_ensemble" in self.file.outputs
        if "energy" not in self.file.outputs or not (self.has_members or FORCE_UNCERTAINTY in self.file.outputs):
            raise ValueError(
                f"{path}: got a file with the outputs {sorted(self.file.outputs)}, expected 'energy' and "
                "'energy_ensemble'; one with 'feature' is given an uncertainty around a MetatomicModel"
            )

    @property
    def cutoff(self) -> float:
        return self.file.cutoff

    @property
    def dtype(self) -> torch.dtype:
        """Of the batches that it takes: the file's own, or what `to` was told."""
        return self.file.like.dtype

    @property
    def device(self) -> torch.device:
        """Where the file computes."""
        return self.file.like.device

    @property
    def knows_stress(self) -> bool:
        """Whether there is a `stress_uncertainty`: the spread of members, where there are some."""
        return self.has_members

    def to(
        self, *target: Target, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None
    ) -> MetatomicPredictor:
        """A copy that takes batches of another floating-point type, on another device, or both."""
        place, kind = targets(target, device=device, dtype=dtype)
        found = copy.copy(self)
        found.file = copy.deepcopy(self.file).to(device=place or self.device, dtype=kind or self.dtype)
        return found

    def predict(self, batch: Batch) -> Prediction:
        """One pass down for the forces, and one for each member. Raises ValueError as `evaluate`."""
        energy, forces, stress, members, said = self._ask(batch)
        if self.has_members:
            assert members.stress is not None
            variances = members.energy.var(0), members.forces.var(0).mean(-1), members.stress.var(0)
            sigma, force_sigma, stress_sigma = ((variance + 1e-16).sqrt() for variance in variances)
        else:
            sigma, force_sigma = said["energy_uncertainty"][:, 0], said[FORCE_UNCERTAINTY][:, 0]
            stress_sigma = None
        if "energy_uncertainty" in said:
            sigma = said["energy_uncertainty"][:, 0]
        return Prediction(
            energy=energy,
            forces=forces,
            stress=stress,
            stress_uncertainty=stress_sigma,
            force_uncertainty=force_sigma.to(forces.dtype),
            energy_uncertainty=sigma.double(),
        )

    def members(self, batch: Batch) -> Members:
        """Each member of the file. Raises ValueError for a file without `energy_ensemble`, else as `predict`."""
        if not self.has_members:
            raise ValueError(
                f"{self.file.path}: has no members: its network states the size of its error, and no other potential "
                "stands behind that; take a file with 'energy_ensemble'"
            )
        return self._ask(batch)[3]

    def _ask(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Members, dict[str, Tensor]]:
        """Energy, forces and stress of the file, its members, and what else it says."""
        self._check(batch)
        keep = batch.positions.requires_grad
        with torch.enable_grad():
            positions = batch.positions if keep else batch.positions.detach().clone().requires_grad_()
            strain = batch.cell.new_zeros(batch.n_structures, 3, 3).requires_grad_()
            wanted = {"energy": "system", "energy_ensemble": "system", "energy_uncertainty": "system",
                      FORCE_UNCERTAINTY: "atom"}  # fmt: skip
            wanted = {name: kind for name, kind in wanted.items() if name in self.file.outputs}
            said = self.file(strained(batch, positions, strain), wanted)
            columns = said["energy"]
            if self.has_members:
                columns = torch.cat([columns, said["energy_ensemble"]], dim=1)
            found = [
                torch.autograd.grad(column, (positions, strain), retain_graph=True, create_graph=keep,
                                    materialize_grads=True)
                for column in columns.sum(0).unbind()
            ]  # fmt: skip
            energy, forces = columns.mT.double(), -torch.stack([slope for slope, _ in found])
            stress = torch.stack([stress_from(batch, tension) for _, tension in found])
        if not keep:
            energy, forces, stress = energy.detach(), forces.detach(), stress.detach()
            said = {name: value.detach() for name, value in said.items()}
        members = Members(energy=energy[1:], forces=forces[1:], stress=stress[1:])
        return energy[0], forces[0], stress[0], members, said

    def _check(self, batch: Batch) -> None:
        if batch.cutoff != self.cutoff:
            raise ValueError(f"batch: its pairs reach to {batch.cutoff} Å, this file needs {self.cutoff} Å")
        if batch.positions.dtype != self.dtype:
            raise ValueError(
                f"batch: it is in {batch.positions.dtype}, this file in {self.dtype}; bring one to the other with `to`"
            )
        if unknown := sorted(set(batch.atomic_numbers.tolist()) - set(self.file.elements)):
            raise ValueError(f"atomic_numbers: got {unknown}, this file knows {self.file.elements}; take another")


class _EnergyAndFeatures(nn.Module):
    """What `ForeignModel` asks of a network."""

    def __init__(self, file: MetatomicFile) -> None:
        super().__init__()
        self.file = file

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        found = self.file(batch, {"energy": "system", "feature": "atom"})
        return found["energy"][:, 0], found["feature"].to(batch.positions.dtype)


def _in_order(block: Any, batch: Batch, kind: str) -> Tensor:
    """(S or N, P) values of a block, whose rows may come in any order."""
    values, labels = block.values.flatten(1), block.samples
    if kind == "system":
        rows = labels.column("system").long()
    else:
        first = batch.atoms_per_structure.cumsum(0) - batch.atoms_per_structure
        rows = first[labels.column("system").long()] + labels.column("atom").long()
    return values.index_select(0, rows.argsort())
