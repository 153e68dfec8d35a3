"""What to follow from generation to generation: functions of a predictor, a float each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ase
import numpy as np
import torch

from uqlib import metrics
from uqlib.calibration import Calibrated
from uqlib.common.devices import Target, targets
from uqlib.dynamics import Langevin, Rule, Trajectories, simulate, thermal
from uqlib.methods.shared.one_network import OfOneNetwork
from uqlib.networks.evaluation import OtherNetwork, evaluate
from uqlib.networks.labels import label_or_nan, learnable
from uqlib.networks.painn import PaiNN, moved
from uqlib.prediction import Prediction, Predictor, predict
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset
from uqlib.structures.notices import say

Measure = Callable[[Predictor], float]


def force_mae(data: Dataset) -> Measure:
    """Mean absolute error of the force components on `data`, eV/Å.

    This and the following measures are of the structures that have the label. If some have none, their number is said
    in a `DataWarning`; if all have none, a ValueError is raised.
    """
    data = _having(data, "forces")
    reference = torch.as_tensor(data.forces)
    return lambda predictor: float(metrics.mae(predict(predictor, data).forces, reference))


def energy_mae(data: Dataset) -> Measure:
    """Mean absolute error of the energies on `data`, eV per atom."""
    data = _having(data, "energy")
    reference, sizes = data.energies, np.array([len(frame) for frame in data.atoms])
    return lambda predictor: float(np.abs((predict(predictor, data).energy.cpu().numpy() - reference) / sizes).mean())


def stress_mae(data: Dataset) -> Measure:
    """Mean absolute error of the six components of the stress on `data`, eV/Å³, of what is periodic in all directions.

    Its predictors raise ValueError where they give no stress.
    """
    data = _having(data, "stress")
    reference = torch.as_tensor(label_or_nan(data, "stress"))

    def measure(predictor: Predictor) -> float:
        stress = predict(predictor, data).stress
        if stress is None:
            raise ValueError(f"predictor: a {type(predictor).__name__} gives no stress, expected one that does")
        return float(metrics.mae(metrics.voigt(stress), reference))

    return measure


def force_spearman(data: Dataset) -> Measure:
    """Rank correlation of force uncertainty and force error over the atoms of `data`."""
    data = _having(data, "forces")
    reference = torch.as_tensor(data.forces)

    def measure(predictor: Predictor) -> float:
        p = predict(predictor, data)
        error = (p.forces - reference).square().mean(1).sqrt()
        return float(metrics.spearman(p.force_uncertainty, error))

    return measure


def barrier_error(path: Dataset) -> Measure:
    """Predicted minus true height of the highest point of `path` over its lowest, eV.

    Both heights are those of the labels' highest and lowest frames: a potential whose maximum lies elsewhere is judged
    by what it says at the true saddle. Raises ValueError for a path of fewer than three frames with an energy.
    """
    path = _having(path, "energy", argument="path")
    if len(path) < 3:
        raise ValueError(f"path: got {len(path)} frames, expected at least 3 to have a barrier")
    energies = path.energies
    top, bottom = int(energies.argmax()), int(energies.argmin())
    true = energies[top] - energies[bottom]
    ends = path.take([top, bottom])

    def measure(predictor: Predictor) -> float:
        high, low = predict(predictor, ends).energy.tolist()
        return high - low - float(true)

    return measure


def _having(data: Dataset, label: str, *, argument: str = "data") -> Dataset:
    """The structures that a label can be compared with; all of them as they are."""
    known = learnable(data, label)
    if not known.any():
        raise ValueError(f"{argument}: no structure of {data.name!r} has {label} to measure by, expected some")
    if known.all():
        return data
    say(f"{argument}: measured by the {int(known.sum())} of {len(data)} structures of {data.name!r} that have {label}")
    return data.take(np.flatnonzero(known))


def lifetimes(
    predictor: Predictor,
    start: ase.Atoms,
    rules: Sequence[Rule],
    *,
    temperature: float,
    steps: int = 1000,
    replicas: int = 16,
    seed: int = 0,
) -> Trajectories:
    """Langevin dynamics of `replicas` copies of `start` (K, steps of 0.5 fs), each until a rule says that it broke.

    Same seed, same velocities and noise for every predictor: the potentials are compared, not the luck. Where the
    forces are those of one network, its uncertainty is left out, which is faster.
    """
    return simulate(
        without_uncertainty(predictor),
        thermal(start, temperature=temperature, replicas=replicas, seed=seed),
        integrator=Langevin(temperature=temperature),
        steps=steps,
        seed=seed,
        rules=rules,
        every=5,
        progress=False,
    )


def surviving(
    start: ase.Atoms,
    rules: Sequence[Rule],
    *,
    temperature: float,
    steps: int = 1000,
    replicas: int = 16,
    seed: int = 0,
) -> Measure:
    """Fraction of the replicas of `lifetimes` that are whole at the end, 0 to 1."""

    def measure(predictor: Predictor) -> float:
        found = lifetimes(predictor, start, rules, temperature=temperature, steps=steps, replicas=replicas, seed=seed)
        return 1.0 - float(found.broken.mean())

    return measure


@dataclass(frozen=True, kw_only=True)
class _Network(OfOneNetwork[PaiNN | OtherNetwork]):
    """A network alone, as a predictor that claims to know everything."""

    model: PaiNN | OtherNetwork

    def to(self, *target: Target) -> _Network:
        return _Network(model=moved(self.model, *targets(target)))

    def predict(self, batch: Batch) -> Prediction:
        found = evaluate(self.model, batch)
        return Prediction(
            energy=found.energy, forces=found.forces, force_uncertainty=torch.zeros_like(found.forces[:, 0])
        )


def without_uncertainty(predictor: Predictor) -> Predictor:
    """The same forces, without an uncertainty where all forces are those of one network; otherwise the predictor."""
    if isinstance(predictor, Calibrated):
        predictor = predictor.predictor
    return _Network(model=predictor.model) if isinstance(predictor, OfOneNetwork) else predictor
