"""Scores of the stress: six components a structure, of those that have one and a label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import samples
import torch
from ase.stress import full_3x3_to_voigt_6_stress
from samples import batch_of, rattled

from uqlib import metrics
from uqlib.metrics import quantities, report, stress_quantity, voigt
from uqlib.prediction import Prediction
from uqlib.show import plots
from uqlib.structures.batch import Batch


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def case(*, seed: int = 0) -> tuple[Batch, Prediction]:
    """Molecules and cells in turn; calibrated errors of the stress."""
    data = samples.with_cells({"all": 40}, seed=seed)
    batch = data.batch(cutoff=samples.CUTOFF, dtype=torch.float64)
    assert batch.stress is not None
    assert batch.energy is not None
    assert batch.forces is not None
    spread = 0.01 + 0.03 * normal(40, 3, 3, seed=seed).abs()
    spread = (spread + spread.mT) / 2
    noise = normal(40, 3, 3, seed=seed + 1).triu()
    return batch, Prediction(
        energy=batch.energy + 0.1 * normal(40, seed=2),
        forces=batch.forces + 0.1 * normal(batch.n_atoms, 3, seed=3),
        stress=batch.stress + spread * (noise + noise.triu(1).mT),
        force_uncertainty=0.1 + 0.01 * normal(batch.n_atoms, seed=4).abs(),
        energy_uncertainty=0.1 + 0.01 * normal(40, seed=5).abs(),
        stress_uncertainty=spread,
    )


def test_voigt_is_the_order_of_ase() -> None:
    stress = normal(5, 3, 3, seed=0)
    stress = stress + stress.mT
    np.testing.assert_allclose(voigt(stress), [full_3x3_to_voigt_6_stress(s) for s in stress.numpy()])


def test_scores_are_those_of_the_metrics() -> None:
    batch, said = case()
    held, before = case(seed=9)
    found = report(said, batch, calibration=(before, held), resamples=10)
    assert [column.name for column in found.columns][:3] == ["energy", "forces", "stress"]
    column = found.columns[2]
    assert column.predictions == 20 * 6
    assert column.unit == "meV/Å³"
    assert said.stress is not None
    assert said.stress_uncertainty is not None
    assert batch.stress is not None
    upper = torch.ones(3, 3).triu().bool()
    error = (said.stress - batch.stress)[1::2][:, upper].flatten()
    std = said.stress_uncertainty[1::2][:, upper].flatten()
    expected = {
        "MAE": 1000 * error.abs().mean(),
        "Spearman": metrics.spearman(error.abs(), std),
        "NLL": metrics.nll(error, std),
        "miscalibration area": metrics.miscalibration_area(error, std),
    }
    for name, value in expected.items():
        assert found["stress", name].value == pytest.approx(float(value), rel=1e-6), name
    assert "calibrated NLL" in column.values
    assert "stress in eV/Å³" in " ".join(str(found).split())
    assert len(plots.report_page(found.curves, text=str(found)).axes) == 12


def test_only_where_it_is_asked_for_and_there() -> None:
    batch, said = case()
    assert [q.name for q in quantities(said, batch)] == ["energy", "forces"]
    assert [q.name for q in quantities(said, batch, stress=True)] == ["energy", "forces", "stress"]
    alone = replace(batch, energy=None, forces=None)
    assert [q.name for q in quantities(said, alone, stress=True)] == ["stress"]
    assert stress_quantity(replace(said, stress=None), batch) is None
    assert stress_quantity(said, replace(batch, stress=None)) is None
    molecule = batch_of(rattled("NH3", 0))
    assert stress_quantity(said, replace(molecule, stress=torch.full((40, 3, 3), torch.nan))) is None
    without = stress_quantity(replace(said, stress_uncertainty=None), batch)
    assert without is not None
    found = metrics.score(without, ("MAE", "NLL"), resamples=5, seed=0)
    assert set(found.values) == {"MAE"}
    assert found.missing == {"NLL": "the prediction has no uncertainty for it"}


def test_components_of_a_structure_are_resampled_together() -> None:
    batch, said = case()
    quantity = stress_quantity(said, batch)
    assert quantity is not None
    assert quantity.groups.tolist() == [group for group in range(1, 40, 2) for _ in range(6)]
    pairs = stress_quantity(said, batch, groups=torch.arange(40) // 4)
    assert pairs is not None
    assert len(pairs.groups.unique()) == 10
    assert len(pairs.part_groups) == len(pairs.parts[0]) == 120


def test_what_symmetry_makes_zero_says_nothing_of_sizes() -> None:
    batch, said = case()
    assert said.stress_uncertainty is not None
    off = ~torch.eye(3).bool()
    exact = stress_quantity(replace(said, stress_uncertainty=said.stress_uncertainty.masked_fill(off, 1e-13)), batch)
    assert exact is not None
    assert len(exact.parts[0]) == len(exact.part_groups) == 20 * 3
    assert len(exact.error) == 20 * 6
    assert float(metrics.coverage(*exact.parts, 0.95)) > 0.8
    some = exact.of(torch.arange(120) < 60, name="first")
    assert len(some.parts[0]) == 30
