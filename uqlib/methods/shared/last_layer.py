"""The predictor of the methods that have a covariance of a network's last layer: variances in closed form.

What the covariance acts on, hidden units and their slopes, is made in `hidden_units`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from uqlib.common import storage
from uqlib.common.devices import Target, targets
from uqlib.interfaces import PACKED, pack, unpack
from uqlib.interfaces.metatomic import write
from uqlib.methods.shared.exporting import DeviationTerms, gaussian_samples
from uqlib.methods.shared.hidden_units import HiddenUnits, last_layer, perceptron_of
from uqlib.methods.shared.one_network import OfOneNetwork
from uqlib.networks.evaluation import OtherNetwork, evaluate
from uqlib.networks.losses import Labelled, stress_errors
from uqlib.networks.memory import pieces_of
from uqlib.networks.painn import PaiNN, moved
from uqlib.networks.references import doubtful
from uqlib.prediction import Members, Prediction
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset

SAMPLES = 32  # of a posterior, where nobody says how many members
FACTORS = ("energy_factor", "force_factor", "stress_factor")


class Changes(NamedTuple):
    """What each of K columns of a root changes, in float64."""

    energy: Tensor  # (K, S)  eV
    forces: Tensor  # (K, N, 3)  eV/Å
    stress: Tensor  # (K, S, 3, 3)  eV/Å³; nan without a volume
    atom_energy: Tensor  # (K, N)  eV


class UncertainLastLayer(OfOneNetwork[PaiNN | OtherNetwork]):
    """A trained network and a covariance of its last layer's weights, written as `root` @ `root.T`.

    Each of the K columns of `root` (H + 1, K) is a change of the weights and, in the last row, of the bias: a member's
    deviation from the mean, over sqrt(K - 1), or an axis of a Gaussian posterior. Energies and forces are linear in
    them, so each column is also a change of all energies and forces, and variances are sums of K squares. `head` names
    the perceptron whose last layer is meant, the readout where it is None. The factors multiply standard deviations;
    where `stress_factor` is None, no label has told, and that of the forces stands in: both are slopes of one energy.
    """

    kind = "last layer"
    knows_stress = True  # whether there is a `stress_uncertainty`

    def __init__(
        self,
        model: PaiNN | OtherNetwork,
        root: Tensor,
        *,
        head: str | None = None,
        energy_factor: float = 1.0,
        force_factor: float = 1.0,
        stress_factor: float | None = None,
        history: Sequence[dict[str, float]] = (),
    ) -> None:
        # Of a network from elsewhere the number of features shows when it is first evaluated.
        inputs = perceptron_of(model, head).outer.weight.shape[0] if isinstance(model, PaiNN) else len(root) - 1
        if root.ndim != 2 or len(root) != inputs + 1 or root.dtype != torch.float64:
            raise ValueError(
                f"root: got shape {tuple(root.shape)} in {root.dtype}, expected ({inputs + 1}, K) in torch.float64"
            )
        self.model, self.root, self.head = model.requires_grad_(False).eval(), root, head
        self.energy_factor, self.force_factor, self.stress_factor = energy_factor, force_factor, stress_factor
        self.history = list(history)

    def deviations(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Changes of the energies (K, S) eV and forces (K, N, 3) eV/Å that each column makes, in float64."""
        found, bias = self.columns(batch), self.model.scale.double() * self.root[-1]
        energy = found.hidden + batch.atoms_per_structure[:, None] * bias
        return self.energy_factor * energy.mT, -self.force_factor * found.slopes

    def changes(self, batch: Batch) -> Changes:
        """All that each of the K columns changes, times the factors, in float64."""
        found, bias = self.columns(batch, strain=True), self.model.scale.double() * self.root[-1]
        assert found.strain is not None
        return Changes(
            energy=self.energy_factor * (found.hidden + batch.atoms_per_structure[:, None] * bias).mT,
            forces=-self.force_factor * found.slopes,
            stress=self.factor_of_stress * found.strain,
            atom_energy=self.energy_factor * (found.atoms + bias).mT,
        )

    def columns(self, batch: Batch, *, strain: bool = False) -> HiddenUnits:
        """Hidden units and their slopes weighed by each of the K columns, in float64: eV, and eV where 1 stood."""
        weights = self.model.scale.double() * self.root[:-1]
        if weights.shape[1] < weights.shape[0]:  # fewer changes than hidden units: less to be done
            mix = weights.to(batch.positions.dtype)
            found = last_layer(self.model, batch, head=self.head, mix=mix, strain=strain)
            tension = None if found.strain is None else found.strain.double()
            return HiddenUnits(
                hidden=found.hidden.double(), slopes=found.slopes.double(), atoms=found.atoms.double(), strain=tension
            )
        found = last_layer(self.model, batch, head=self.head, strain=strain)
        return HiddenUnits(
            hidden=found.hidden.double() @ weights,
            slopes=torch.einsum("hnc,hk->knc", found.slopes.double(), weights),
            atoms=found.atoms.double() @ weights,
            strain=None if found.strain is None else torch.einsum("hscd,hk->kscd", found.strain.double(), weights),
        )

    @property
    def factor_of_stress(self) -> float:
        """Its own, or that of the forces."""
        return self.force_factor if self.stress_factor is None else self.stress_factor

    def predict(self, batch: Batch) -> Prediction:
        """What the network says; of an atom's force the root of the mean over x, y, z of the variance."""
        result = evaluate(self.model, batch)
        found = self.changes(batch)
        return Prediction(
            energy=result.energy,
            forces=result.forces,
            stress=result.stress,
            force_uncertainty=_root(found.forces.square().sum(0).mean(-1)).to(result.forces.dtype),
            energy_uncertainty=doubtful(self.model, batch, _root(found.energy.square().sum(0))),
            stress_uncertainty=_root(found.stress.square().sum(0)).to(result.stress.dtype),
            atom_energy_uncertainty=_root(found.atom_energy.square().sum(0)),
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

        One set of weights makes a member's energy, forces and stress, and one factor sizes all: that of the energies.
        The spread of the members' forces is `force_uncertainty` times `energy_factor` / `force_factor`.
        """
        result, found = evaluate(self.model, batch), self.changes(batch)
        mix = self.combinations(count, seed)
        shift = torch.einsum("knc,km->mnc", found.forces, mix) * (self.energy_factor / self.force_factor)
        strain = torch.einsum("kscd,km->mscd", found.stress, mix) * (self.energy_factor / self.factor_of_stress)
        return Members(
            energy=result.energy + mix.mT @ found.energy,
            forces=(result.forces + shift).to(result.forces.dtype),
            stress=(result.stress + strain).to(result.stress.dtype),
        )

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
        perceptron = perceptron_of(self.model, self.head)
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
        """The same with the factors that make the likelihood of the labels of `valid` largest, of stress if it has any.

        Each is the root mean square of error over standard deviation. Of what symmetry makes zero nothing is learnt.
        """
        exact = self.to(torch.float64)
        energies, forces, stresses = [], [], []
        for batch in pieces_of(exact.model, valid, structures=len(valid)):
            result, by = evaluate(exact.model, batch), exact.changes(batch)
            error, (of_cells, cells) = Labelled.of(result, batch), stress_errors(result, batch)
            energies.append((error.energy, by.energy.square().sum(0)[error.structures]))
            forces.append((error.forces, by.forces.square().sum(0)[error.atoms]))
            stresses.append((of_cells, by.stress.square().sum(0)[cells]))
        energy_size, force_size = (size(*map(torch.cat, zip(*found, strict=True))) for found in (energies, forces))
        found = self._with(self.model, self.root)
        found.energy_factor, found.force_factor = energy_size * self.energy_factor, force_size * self.force_factor
        if any(len(error) for error, _ in stresses):
            found.stress_factor = self.factor_of_stress * size(*map(torch.cat, zip(*stresses, strict=True)))
        return found

    def _with(self, model: PaiNN | OtherNetwork, root: Tensor) -> UncertainLastLayer:
        factors = {name: getattr(self, name) for name in FACTORS}
        return UncertainLastLayer(model, root, head=self.head, history=self.history, **factors)

    def save(self, path: str | Path) -> None:
        """Weights, recipe and covariance; errors as `storage.save`."""
        names = ("root", "head", *FACTORS, "history")
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
