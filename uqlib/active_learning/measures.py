"""What to follow from generation to generation: functions of a predictor, a float each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ase
import numpy as np
import torch

from uqlib import metrics
from uqlib.datasets import Dataset
from uqlib.dynamics import Langevin, Rule, simulate, thermal
from uqlib.prediction import Predictor, predict

Measure = Callable[[Predictor], float]


def force_mae(data: Dataset) -> Measure:
    """Mean absolute error of the force components on `data`, eV/Å."""
    reference = torch.as_tensor(data.forces)
    return lambda predictor: float(metrics.mae(predict(predictor, data).forces, reference))


def energy_mae(data: Dataset) -> Measure:
    """Mean absolute error of the energies on `data`, eV per atom."""
    reference, sizes = data.energies, np.array([len(frame) for frame in data.atoms])
    return lambda predictor: float(np.abs((predict(predictor, data).energy.cpu().numpy() - reference) / sizes).mean())


def force_spearman(data: Dataset) -> Measure:
    """Rank correlation of force uncertainty and force error over the atoms of `data`."""
    reference = torch.as_tensor(data.forces)

    def measure(predictor: Predictor) -> float:
        p = predict(predictor, data)
        error = (p.forces - reference).square().mean(1).sqrt()
        return float(metrics.spearman(p.force_uncertainty, error))

    return measure


def barrier_error(path: Dataset) -> Measure:
    """Predicted minus true height of the highest point of `path` over its lowest, eV.

    Both heights are those of the labels' highest and lowest frames: a potential whose maximum lies elsewhere is judged
    by what it says at the true saddle. Raises ValueError for a path of fewer than three frames.
    """
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


def surviving(
    start: ase.Atoms,
    rules: Sequence[Rule],
    *,
    temperature: float,
    steps: int = 1000,
    replicas: int = 16,
    seed: int = 0,
) -> Measure:
    """Fraction of replicas that Langevin dynamics (K, steps of 0.5 fs) leaves whole by `rules`, 0 to 1.

    Same seed, same velocities and noise in every generation: the potentials are compared, not the luck.
    """
    starts = thermal(start, temperature=temperature, replicas=replicas, seed=seed)

    def measure(predictor: Predictor) -> float:
        integrator = Langevin(temperature=temperature)
        found = simulate(
            predictor, starts, integrator=integrator, steps=steps, seed=seed, rules=rules, every=5, progress=False
        )
        return 1.0 - float(found.broken.mean())

    return measure
