"""Oracles that know more than the starting data, or less: no label that was paid for stops the run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import samples
import torch
from ase.calculators.singlepoint import SinglePointCalculator

from uqlib.active_learning import (
    ActiveLearning,
    Attacked,
    Displaced,
    FromDynamics,
    barrier_error,
    energy_mae,
    force_mae,
    force_spearman,
    stress_mae,
)
from uqlib.calibration import Recalibrated
from uqlib.methods import Ensemble, LastLayer, MeanVariance, with_stress
from uqlib.networks.training import Settings
from uqlib.prediction import predict
from uqlib.structures.dataset import Dataset
from uqlib.structures.notices import DataWarning

SETTINGS = Settings(epochs=2, batch_size=4)
NETWORK: Any = {"network": samples.NETWORK, "settings": SETTINGS}
METHODS: dict[str, Any] = {
    "ensemble": Ensemble(members=2, **NETWORK),
    "stress": with_stress(Ensemble(members=2, **NETWORK)),
    "llpr": LastLayer(**NETWORK),
    "mve": Recalibrated(method=MeanVariance(**NETWORK)),
}
PROPOSALS: dict[str, Any] = {
    "displaced": Displaced(scale=0.05, rmsd=0.0),
    "attacked": Attacked(steps=3, oversampling=2, percentile=0.0, rmsd=0.0),
    "dynamics": FromDynamics(steps=5, trajectories=3, percentile=0.0, rmsd=0.0),
}


def keeping(frame: ase.Atoms, labels: Sequence[str]) -> ase.Atoms:
    bare = frame.copy()
    bare.calc = SinglePointCalculator(bare, **{k: v for k, v in frame.calc.results.items() if k in labels})  # pyright: ignore
    return bare


def holding(data: Dataset, labels: Sequence[str]) -> Dataset:
    return replace(data, atoms=tuple(keeping(frame, labels) for frame in data.atoms))


@dataclass(frozen=True)
class Knows:
    """Labels cells by a pair potential, and says of it what is in `labels`."""

    labels: tuple[str, ...]

    def label(self, atoms: ase.Atoms) -> ase.Atoms:
        return keeping(samples.stressed(atoms), self.labels)


def cells(sizes: dict[str, int]) -> Dataset:
    data = samples.with_cells({"all": 2 * sum(sizes.values())})
    ends = np.cumsum([0, *sizes.values()])
    splits = {name: tuple(range(*ends[k : k + 2])) for k, name in enumerate(sizes)}
    return Dataset(name="cells", atoms=data.atoms[1::2], splits=splits)


@pytest.mark.parametrize(
    ("start", "oracle"),
    [
        (("energy", "forces"), ("energy", "forces", "stress")),
        (("energy", "forces", "stress"), ("energy", "forces")),
        (("energy", "forces"), ("energy",)),
        (("energy",), ("energy", "forces")),
        (("energy", "forces"), ("forces",)),
    ],
    ids=["more", "less", "energies only", "forces at last", "forces only"],
)
@pytest.mark.parametrize("method", ["ensemble", "llpr", "mve"])
def test_more_and_fewer_labels(tmp_path: Path, method: str, start: tuple[str, ...], oracle: tuple[str, ...]) -> None:
    if method == "mve" and "forces" not in start:
        pytest.skip("a calibration starts with forces")
    data = cells({"train": 8, "valid": 5})
    learning = ActiveLearning(method=METHODS[method], oracle=Knows(oracle), propose=PROPOSALS["displaced"],
                              generations=2, labels=5, valid_share=0.4)  # fmt: skip
    sets = [holding(data[name], start) for name in ("train", "valid")]
    expected = nullcontext() if "forces" in start else pytest.warns(DataWarning, match="has no forces; the loss is of")
    with expected:
        history = learning.run(*sets, seed=0, folder=tmp_path, progress=False)
    assert [generation.train for generation in history.generations] == [8, 11, 14]
    new = history.added[0]
    assert [set(frame.calc.results) for frame in new if frame.calc is not None] == [set(oracle)] * 5


@pytest.mark.parametrize("propose", PROPOSALS)
def test_stress_in_the_loss_and_an_oracle_without(tmp_path: Path, propose: str) -> None:
    data = cells({"train": 8, "valid": 4, "test": 4})
    learning = ActiveLearning(method=METHODS["stress"], oracle=Knows(("energy", "forces")), propose=PROPOSALS[propose],
                              generations=1, labels=4)  # fmt: skip
    measures = {"stress": stress_mae(data["test"])}
    history = learning.run(data["train"], data["valid"], seed=0, folder=tmp_path, progress=False, measures=measures)
    assert np.isfinite(history.measure("stress")).all()
    assert len(history.generations) == 2


def test_measures_are_of_what_has_the_label() -> None:
    data = samples.with_cells({"all": 10})
    fitted = METHODS["ensemble"].fit(data, data, seed=0, progress=False)
    frames = [keeping(f, ("energy", "stress") if k < 3 else ("forces",)) for k, f in enumerate(data.atoms)]
    holes = replace(data, atoms=tuple(frames))
    for measure, chosen in ((force_mae, range(3, 10)), (force_spearman, range(3, 10)), (energy_mae, range(3))):
        whole = measure(data.take(chosen))
        with pytest.warns(DataWarning, match=rf"measured by the {len(chosen)} of 10 structures of 'cells' that have"):
            part = measure(holes)
        assert part(fitted) == pytest.approx(whole(fitted), rel=1e-6)
    with pytest.warns(DataWarning, match="the 3 of 10"):
        assert np.isfinite(barrier_error(holes)(fitted))
    with pytest.warns(DataWarning, match="the 1 of 10"):
        one = stress_mae(holes)
    stress = predict(fitted, data.atoms[1]).stress
    assert stress is not None
    label = torch.as_tensor(data.atoms[1].get_stress(voigt=False))
    weights = torch.ones(3, 3).triu().bool()
    assert one(fitted) == pytest.approx(float((stress[0] - label)[weights].abs().mean()), rel=1e-5)
    for measure in (force_mae, energy_mae, stress_mae, force_spearman):
        with pytest.raises(ValueError, match=r"data: no structure of 'bare' has \w+ to measure by"):
            measure(Dataset(name="bare", atoms=(samples.rattled("NH3", 0),)))
    with pytest.raises(ValueError, match="path: got 2 frames, expected at least 3"):
        barrier_error(data.take([0, 1]))
