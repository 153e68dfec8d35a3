"""`ForeignModel`: a torch network that was made and trained elsewhere, as the methods after training want to see it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from uqlib.networks.evaluation import Evaluation, OtherNetwork, check
from uqlib.networks.painn import PaiNN
from uqlib.structures.batch import Batch


class ForeignModel(OtherNetwork):
    """A trained network of yours: `module(batch)` returns its energies (S,) in eV and features (N, F).

    All that is asked of `module` is that both are smooth functions of `batch.positions` (and of `batch.cell`, for the
    stress), made with torch; forces are made here, as the slope of the energy. Vectors between neighbours are
    `batch.vectors()`. The features of an atom are whatever its energy is read from, a hidden layer or a descriptor:

    * densities and distances (`GaussianMixture`, `NearestNeighbours`) take any features;
    * `LastLayer` takes the energy to be linear in the sum of the features over atoms: give what *enters* the last
      layer, behind the last activation. Given other features, it is the uncertainty of a linear fit to these.

    Fit such a method with `fit_to(ForeignModel(...), train, valid, seed=0)`, on the data that trained the network.
    The module is copied and frozen. Raises ValueError for a module without parameters and buffers, for no or unknown
    elements, and for a cutoff that is no positive distance.
    """

    members = None
    bytes_per_pair: int | None = None  # while energies and forces are made, to size batches by; None: not known
    scale: Tensor

    def __init__(self, module: nn.Module, *, elements: Sequence[int], cutoff: float) -> None:
        super().__init__()
        if not any(tensor.is_floating_point() for tensor in chain(module.parameters(), module.buffers())):
            raise ValueError(
                f"module: got a {type(module).__name__} without parameters and buffers, from which to know its type; "
                "register a buffer in the floating-point type that it computes in"
            )
        if not elements or min(elements) < 1 or max(elements) > 118:
            raise ValueError(f"elements: got {list(elements)}, expected atomic numbers from 1 to 118, at least one")
        if not 0 < cutoff < float("inf"):
            raise ValueError(f"cutoff: got {cutoff}, expected a positive distance in Å, the module's own")
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self.elements, self.cutoff = sorted({int(z) for z in elements}), float(cutoff)
        self.register_buffer("scale", torch.ones((), dtype=self.dtype, device=self.device), persistent=False)

    @property
    def dtype(self) -> torch.dtype:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._typical().dtype

    @property
    def device(self) -> torch.device:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._typical().device

    def _typical(self) -> Tensor:
        tensors = chain(self.module.parameters(), self.module.buffers())
        return next(tensor for tensor in tensors if tensor.is_floating_point())

    def evaluate(self, batch: Batch, *, train: bool = False) -> Evaluation:
        """Energies, features, and forces and stress by autograd; differentiable where `batch.positions` are.

        `train` keeps the tape, too. Raises ValueError as `prediction.evaluate`, and for a module whose results have
        other shapes or whose energy does not depend on positions.
        """
        check(self, batch)
        if unknown := sorted(set(batch.atomic_numbers.tolist()) - set(self.elements)):
            raise ValueError(
                f"atomic_numbers: got {unknown}, this network knows {self.elements}; give ForeignModel all elements "
                "that it was trained on, or take another network"
            )
        on_tape = train or batch.positions.requires_grad
        with torch.enable_grad():
            positions = batch.positions
            if not positions.requires_grad:
                positions = positions.detach().clone().requires_grad_()
            strain = batch.cell.new_zeros(batch.n_structures, 3, 3).requires_grad_()
            energy, features = self._called(strained(batch, positions, strain))
            pull, tension = _slopes(energy, positions, strain, keep=on_tape)
            result = {
                "energy": energy.double(),
                "forces": -pull,
                "stress": stress_from(batch, tension),
                "features": features,
            }
        return Evaluation(heads={}, **{k: v if on_tape else v.detach() for k, v in result.items()})

    def _called(self, batch: Batch) -> tuple[Tensor, Tensor]:
        found = self.module(batch)
        shapes = [tuple(part.shape) for part in found if isinstance(part, Tensor)] if isinstance(found, tuple) else []
        expected = [(batch.n_structures,), (batch.n_atoms, *shapes[-1][1:2])] if shapes else None
        if shapes != expected:
            raise ValueError(
                f"module: got {shapes or type(found).__name__} from it for {batch.n_structures} structures with "
                f"{batch.n_atoms} atoms, expected a pair: energies ({batch.n_structures},) in eV and features "
                f"({batch.n_atoms}, F)"
            )
        energy, features = found
        if batch.n_pairs and not energy.requires_grad:
            raise ValueError(
                "module: its energy does not depend on batch.positions, so that no force could be made; is it computed "
                "without gradients, from detached positions, or by numpy?"
            )
        return energy, features


def strained(batch: Batch, positions: Tensor, strain: Tensor) -> Batch:
    """The batch with every structure stretched by 1 + strain (S, 3, 3), which is zero but has a gradient."""
    moved = torch.einsum("nc,ncd->nd", positions, strain.index_select(0, batch.structure_of_atom))
    return replace(
        batch, positions=positions + moved, cell=batch.cell + batch.cell @ strain, energy=None, forces=None, stress=None
    )


def _slopes(energy: Tensor, positions: Tensor, strain: Tensor, *, keep: bool) -> tuple[Tensor, Tensor]:
    """dE/d(positions) (N, 3) and dE/d(strain) (S, 3, 3); zero for atoms without neighbours."""
    if not energy.requires_grad:
        return torch.zeros_like(positions), torch.zeros_like(strain)
    found = torch.autograd.grad(energy.sum(), (positions, strain), create_graph=keep, retain_graph=True,
                                materialize_grads=True)  # fmt: skip
    return found[0], found[1]


def stress_from(batch: Batch, tension: Tensor) -> Tensor:
    """(S, 3, 3) dE/d(strain) over volume, eV/Å³, as in ASE; nan without a volume."""
    volume = torch.linalg.det(batch.cell).abs()
    without = (volume == 0)[:, None, None]
    stress = 0.5 * (tension + tension.mT) / volume[:, None, None].masked_fill(without, 1.0)
    return stress.masked_fill(without, torch.nan)


PACKED = ("recipe", "weights", "trained_on")
"""What `pack` writes; whoever adds to it leaves these names alone."""


def pack(model: PaiNN | OtherNetwork) -> dict[str, Any]:
    """What a file keeps of a network: the weights and, of `PaiNN`, how it is built. Code of yours is not kept."""
    recipe = model.recipe if isinstance(model, PaiNN) else None
    return {"recipe": recipe, "weights": model.state_dict(), "trained_on": model.trained_on}


def unpack(payload: Mapping[str, Any], model: OtherNetwork | None) -> PaiNN | OtherNetwork:
    """The network that `pack` packed, frozen. `model`: one like it, where it is not `PaiNN`; a copy gets the weights.

    Raises ValueError where `model` is missing, superfluous or has other weights than the file.
    """
    recipe, weights = payload["recipe"], payload["weights"]
    if (recipe is None) != (model is not None):
        raise ValueError(
            "model: this file holds the uncertainty and the weights of a network of yours but not its code; give one "
            "like it: load(path, model=ForeignModel(...))"
            if model is None
            else "model: got one, but this file holds all of its network; leave it out"
        )
    if model is None:
        found = PaiNN(**recipe).to(weights["embedding"].dtype)  # on the CPU, as all that comes from a file
        found.load_state_dict(weights)
        found.trained_on = payload.get("trained_on")  # not in files of before
        return found.requires_grad_(False).eval()
    copied = copy.deepcopy(model)
    kinds = {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()}
    copied = copied.to(kinds.pop()) if len(kinds) == 1 else copied
    try:
        copied.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"model: its weights are not those of the file ({error}); build it as it was built") from error
    copied.trained_on = payload.get("trained_on")
    return copied.requires_grad_(False).eval()
