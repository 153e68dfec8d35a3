"""What enters the last layer of a network, summed over the atoms of a structure, and how it changes with positions.

The energy is linear in the last layer's weights: E = s (w · φ + b n) + references, with the hidden units φ summed over
the n atoms and the network's scale s. So are the forces, F = -s w · ∂φ/∂r. A covariance of w is therefore all it takes
for variances of energies and forces, in closed form. This file makes φ and ∂φ/∂r, at the cost of one pass up and, taken
together, one pass down for each hidden unit; and the predictor of the methods that have such a covariance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from uqlib.common import storage
from uqlib.common.devices import Target, targets
from uqlib.interfaces import PACKED, pack, unpack
from uqlib.interfaces.metatomic import write
from uqlib.methods.shared.exporting import DeviationTerms, gaussian_samples
from uqlib.networks import fast_painn
from uqlib.networks.evaluation import OtherNetwork, check, evaluate, pair_gradient
from uqlib.networks.fast_painn import Weights
from uqlib.networks.losses import Labelled
from uqlib.networks.memory import bytes_per_pair, pieces_of
from uqlib.networks.painn import Geometry, PaiNN, Perceptron, moved
from uqlib.networks.references import doubtful
from uqlib.networks.slots import Table
from uqlib.prediction import Members, Prediction
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset

SAMPLES = 32  # of a posterior, where nobody says how many members
LARGEST_PIECE = 4_000_000  # numbers in one of the (hidden units, N, K, F) arrays; a dozen of them live at a time


@dataclass(frozen=True, kw_only=True)
class HiddenUnits:
    """Hidden units of a perceptron on the final features, and their slopes."""

    hidden: Tensor  # (S, H)  summed over the atoms of each structure
    slopes: Tensor  # (H, N, 3)  derivative with respect to positions, 1/Å


def last_layer(
    model: PaiNN | OtherNetwork,
    batch: Batch,
    *,
    head: str | None = None,
    mix: Tensor | None = None,
    train: bool = False,
) -> HiddenUnits:
    """Hidden units of the readout, or of the head named `head`, with their slopes.

    With `mix` (H, K), K linear combinations of them, made before the way down: it is then walked K times and not H.
    Differentiable in the positions where `batch.positions.requires_grad`, and in the weights with `train=True`. Raises
    ValueError for what `evaluate` refuses, for a network that carries several members or computes its features in
    another way than `PaiNN`, and for an unknown head. Of a network from elsewhere, its features are the hidden units.
    """
    if not isinstance(model, PaiNN):
        return _features_as_hidden_units(model, batch, head=head, mix=mix, train=train)
    perceptron = _perceptron(model, head)
    check(model, batch)
    on_tape = batch.positions.requires_grad
    species, table = model.species(batch.atomic_numbers), Table.of(batch)
    with torch.set_grad_enabled(on_tape):
        geometry = Geometry.of(batch, model.radial)
    with torch.set_grad_enabled(train or on_tape):
        weights, direction = Weights.of(model), table.fill(geometry.direction)
        features, passed = fast_painn.through_layers(weights, species, table, table.fill(geometry.basis), direction)
        before = perceptron.inner(features)
        hidden = F.silu(before)
        # (H, N, F), or (K, N, F): the derivative of each unit of each atom with respect to that atom's features.
        bend, inner = fast_painn.silu_slope(before), perceptron.inner.weight
        if mix is None:
            at_features = bend.mT.unsqueeze(-1) * inner.mT.unsqueeze(1)
        else:
            hidden, at_features = hidden @ mix, (bend * mix.mT.unsqueeze(1)) @ inner.mT
        units = max(1, LARGEST_PIECE // max(table.neighbour.numel() * features.shape[1], 1))
        slopes = []
        for part in at_features.split(units):
            by_basis, by_direction = fast_painn.back_through_layers(weights, passed, part, table, direction)
            pull = pair_gradient(geometry, table.read(by_basis), table.read(by_direction))
            flat = pull.new_zeros(len(part), batch.n_atoms, 3)
            slopes.append(flat.index_add(1, batch.pairs[1], pull).index_add(1, batch.pairs[0], pull, alpha=-1))
        start = hidden.new_zeros(batch.n_structures, hidden.shape[1])
        return HiddenUnits(hidden=start.index_add(0, batch.structure_of_atom, hidden), slopes=torch.cat(slopes))


def _features_as_hidden_units(
    model: OtherNetwork, batch: Batch, *, head: str | None, mix: Tensor | None, train: bool
) -> HiddenUnits:
    """The same by autograd, one pass down for each column: nothing is known of the way up."""
    if head is not None:
        raise ValueError(f"head: got {head!r}, a {type(model).__name__} has its features alone; leave it out")
    on_tape = batch.positions.requires_grad
    moving = batch if on_tape else batch.at(batch.positions.detach().clone().requires_grad_(), update_pairs=False)
    keep = train or on_tape
    with torch.enable_grad():
        units = evaluate(model, moving, train=train).features
        units = units if mix is None else units @ mix
        start = units.new_zeros(batch.n_structures, units.shape[1])
        hidden = start.index_add(0, batch.structure_of_atom, units)
        columns = units.sum(0).unbind() if units.requires_grad else ()
        found = [
            torch.autograd.grad(column, moving.positions, retain_graph=True, create_graph=keep, materialize_grads=True)[
                0
            ]
            for column in columns
        ]
    slopes = torch.stack(found) if found else units.new_zeros(units.shape[1], batch.n_atoms, 3)
    return HiddenUnits(hidden=hidden, slopes=slopes) if keep else HiddenUnits(hidden=hidden.detach(), slopes=slopes)


def _perceptron(model: PaiNN, head: str | None) -> Perceptron:
    if model.members is not None:
        raise ValueError(f"model: got one that carries {model.members} networks, expected a single one")
    if type(model) is not PaiNN:
        raise ValueError(f"model: got a {type(model).__name__}, expected PaiNN itself, whose passes are known")
    if head is not None and head not in model.heads:
        raise ValueError(f"head: got {head!r}, this network has {sorted(model.heads)}")
    perceptron = model.readout if head is None else model.heads[head]
    assert isinstance(perceptron, Perceptron)
    return perceptron


class UncertainLastLayer:
    """A trained network and a covariance of its last layer's weights, written as `root` @ `root.T`.

    Each of the K columns of `root` (H + 1, K) is a change of the weights and, in the last row, of the bias: a member's
    deviation from the mean, over sqrt(K - 1), or an axis of a Gaussian posterior. Energies and forces are linear in
    them, so each column is also a change of all energies and forces, and variances are sums of K squares. `head` names
    the perceptron whose last layer is meant, the readout where it is None. The factors multiply standard deviations.
    """

    kind = "last layer"

    def __init__(
        self,
        model: PaiNN | OtherNetwork,
        root: Tensor,
        *,
        head: str | None = None,
        energy_factor: float = 1.0,
        force_factor: float = 1.0,
        history: Sequence[dict[str, float]] = (),
    ) -> None:
        # Of a network from elsewhere the number of features shows when it is first evaluated.
        inputs = _perceptron(model, head).outer.weight.shape[0] if isinstance(model, PaiNN) else len(root) - 1
        if root.ndim != 2 or len(root) != inputs + 1 or root.dtype != torch.float64:
            raise ValueError(
                f"root: got shape {tuple(root.shape)} in {root.dtype}, expected ({inputs + 1}, K) in torch.float64"
            )
        self.model, self.root, self.head = model.requires_grad_(False).eval(), root, head
        self.energy_factor, self.force_factor = energy_factor, force_factor
        self.history = list(history)

    @property
    def cutoff(self) -> float:
        return self.model.cutoff

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def bytes_per_pair(self) -> int:
        return bytes_per_pair(self.model)

    def deviations(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Changes of the energies (K, S) eV and forces (K, N, 3) eV/Å that each column makes, in float64."""
        weights, bias = self.model.scale.double() * self.root[:-1], self.model.scale.double() * self.root[-1]
        mixed = weights.shape[1] < weights.shape[0]  # fewer changes than hidden units: less to be done
        mix = weights.to(batch.positions.dtype) if mixed else None
        found = last_layer(self.model, batch, head=self.head, mix=mix)
        energy, slopes = found.hidden.double(), found.slopes.double()
        if not mixed:
            energy, slopes = energy @ weights, torch.einsum("hnc,hk->knc", slopes, weights)
        energy, forces = energy + batch.atoms_per_structure[:, None] * bias, -slopes
        return self.energy_factor * energy.mT, self.force_factor * forces

    def predict(self, batch: Batch) -> Prediction:
        """What the network says; of an atom's force the root of the mean over x, y, z of the variance."""
        result = evaluate(self.model, batch)
        energy, forces = self.deviations(batch)
        return Prediction(
            energy=result.energy,
            forces=result.forces,
            stress=result.stress,
            force_uncertainty=_root(forces.square().sum(0).mean(-1)).to(result.forces.dtype),
            energy_uncertainty=doubtful(self.model, batch, _root(energy.square().sum(0))),
        )

    def combinations(self, count: int | None, seed: int) -> Tensor:
        """(K, M) members as sums of the columns of `root`, in float64; their mean is zero.

        A shallow ensemble has its own. Of a posterior, `count` samples are drawn (32 where it is None): the variance
        over members is then the predictor's on average over seeds. Raises ValueError for fewer than two, and for a
        `count` where the members are given.
        """
        columns = self.root.shape[1]
        if self.head is None:
            return gaussian_samples(columns, SAMPLES if count is None else count, seed).to(self.root.device)
        if count is not None and count != columns:
            raise ValueError(f"count: got {count}, but this shallow ensemble has {columns} members; leave it out")
        return torch.eye(columns, dtype=torch.float64, device=self.root.device) * (columns - 1) ** 0.5

    def members(self, batch: Batch, *, count: int | None = None, seed: int = 0) -> Members:
        """Last layers of a shallow ensemble, or `count` samples of the posterior; errors as `combinations`.

        One set of weights makes a member's energy and its forces, so that one factor sizes both: that of the energies.
        The spread of the members' forces is `force_uncertainty` times `energy_factor` / `force_factor`.
        """
        result, (energy, forces) = evaluate(self.model, batch), self.deviations(batch)
        mix = self.combinations(count, seed)
        shift = torch.einsum("knc,km->mnc", forces, mix) * (self.energy_factor / self.force_factor)
        return Members(energy=result.energy + mix.mT @ energy, forces=(result.forces + shift).to(result.forces.dtype))

    def export(self, path: str | Path, *, count: int | None = None, seed: int = 0) -> None:
        """Write a file that ASE, i-PI, LAMMPS and others run: see `interfaces.metatomic`; errors as its `write`.

        Its members are those of `members`. Raises ValueError also for a network that is not `PaiNN` itself, whose code
        is not ours to write down.
        """
        if type(self.model) is not PaiNN:
            raise ValueError(
                f"predictor: its network is a {type(self.model).__name__}, expected PaiNN itself; export it with the "
                "package that it comes from"
            )
        samples = self.combinations(count, seed).cpu()
        perceptron = _perceptron(self.model, self.head)
        name = "llpr" if self.head is None else "shallow"
        terms = DeviationTerms(self.model, perceptron, self.model.scale * self.root * self.energy_factor)
        size = self.force_factor / self.energy_factor
        words = f"changes of one last layer; the spread of the members' forces is to be multiplied by {size:.6g}"
        write(terms, path, kind=name, samples=samples, description=words)

    def to(
        self, *target: Target, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None
    ) -> UncertainLastLayer:
        """A copy in another floating-point type, on another device, or both; the covariance stays in float64."""
        model = moved(self.model, *targets(target, device=device, dtype=dtype))
        return self._with(model, self.root.to(model.device))

    def sized(self, valid: Dataset) -> UncertainLastLayer:
        """The same with the two factors that make the likelihood of the labels of `valid` largest.

        Each is the root mean square of error over standard deviation. Of what symmetry makes zero nothing is learnt.
        """
        exact = self.to(torch.float64)
        energies, forces = [], []
        for batch in pieces_of(exact.model, valid, structures=len(valid)):
            result, (by_energy, by_force) = evaluate(exact.model, batch), exact.deviations(batch)
            error = Labelled.of(result, batch)
            energies.append((error.energy, by_energy.square().sum(0)[error.structures]))
            forces.append((error.forces, by_force.square().sum(0)[error.atoms]))
        energy_size, force_size = (size(*map(torch.cat, zip(*found, strict=True))) for found in (energies, forces))
        found = self._with(self.model, self.root)
        found.energy_factor, found.force_factor = energy_size * self.energy_factor, force_size * self.force_factor
        return found

    def _with(self, model: PaiNN | OtherNetwork, root: Tensor) -> UncertainLastLayer:
        factors = {"energy_factor": self.energy_factor, "force_factor": self.force_factor}
        return UncertainLastLayer(model, root, head=self.head, history=self.history, **factors)

    def save(self, path: str | Path) -> None:
        """Weights, recipe and covariance; errors as `storage.save`."""
        names = ("root", "head", "energy_factor", "force_factor", "history")
        storage.save(path, pack(self.model) | {name: getattr(self, name) for name in names}, kind=self.kind)

    @classmethod
    def load(cls, path: str | Path, *, model: OtherNetwork | None = None) -> UncertainLastLayer:
        """What `save` wrote, `model` as in `foreign.unpack`; errors as `storage.load` and as there."""
        payload = storage.load(path, kind=cls.kind)
        network = unpack(payload, model)
        rest = {name: value for name, value in payload.items() if name not in (*PACKED, "root")}
        return cls(network, payload["root"], **rest)


def size(error: Tensor, variance: Tensor) -> float:
    """The factor on standard deviations that makes the likelihood of these errors largest: RMS of error over them."""
    if not variance.numel():
        return 1.0
    known = variance > 1e-12 * variance.max()  # symmetry makes some of the force components, and their errors, zero
    if not bool(known.any()):
        return 1.0
    return float((error[known].square() / variance[known]).mean().sqrt())


def _root(variance: Tensor) -> Tensor:
    """sqrt whose slope stays finite where nothing is uncertain (the force on one atom alone in space, say)."""
    return (variance + 1e-16).sqrt()
