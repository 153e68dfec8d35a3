"""Which components of forces symmetry makes zero, and that they no longer reward uncertainties that are too small."""

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation

from uqlib import calibration, metrics
from uqlib.metrics import UndefinedMetric, allowed_directions
from uqlib.prediction import Prediction
from uqlib.structures import datasets
from uqlib.structures.batch import Batch
from uqlib.study import scoring


def directions(atoms: ase.Atoms | list[ase.Atoms], *forces: torch.Tensor) -> torch.Tensor:
    return allowed_directions(Batch.from_atoms(atoms, dtype=torch.float64), *forces)


def count(found: torch.Tensor) -> list[int]:
    return found.any(dim=2).sum(dim=1).tolist()


PLANAR = ase.Atoms("NH3", [[0, 0, 0], [1, 0, 0], [-0.5, 0.75**0.5, 0], [-0.5, -(0.75**0.5), 0]])


@pytest.mark.parametrize(
    ("atoms", "allowed"),
    [
        (molecule("NH3"), [1, 2, 2, 2]),  # on the axis; in a mirror plane each
        (PLANAR, [0, 1, 1, 1]),
        (molecule("H2O"), [1, 2, 2]),
        (molecule("CO2"), [0, 1, 1]),
        (molecule("CH3CH2OH"), [2, 2, 2, 2, 3, 3, 2, 3, 3]),  # one mirror plane, with both C, O and two of the H
        (bulk("Si", cubic=True), [0] * 8),
        (ase.Atoms("N", [[0, 0, 0]]), [0]),
    ],
)
def test_directions_are_those_of_the_point_group(atoms: ase.Atoms, allowed: list[int]) -> None:
    turned = atoms.copy()
    turn = Rotation.random(rng=0).as_matrix()
    turned.set_cell(np.asarray(atoms.cell) @ turn.T)
    turned.positions = atoms.positions @ turn.T
    for structure in (atoms, turned):
        found = directions(structure)
        assert count(found) == allowed
        there = found.any(dim=2)
        torch.testing.assert_close(found @ found.transpose(1, 2), torch.diag_embed(there.double()))


def test_the_axis_and_the_plane_are_the_right_ones() -> None:
    found = directions(PLANAR)
    torch.testing.assert_close(found[2, 0].abs(), torch.tensor([0.5, 0.75**0.5, 0.0], dtype=torch.float64))
    mirror = directions(molecule("H2O"))[1:]  # in the y-z plane
    torch.testing.assert_close(mirror[:, :, 0], torch.zeros(2, 3, dtype=torch.float64))


def test_small_forces_that_are_allowed_are_kept() -> None:
    bent = PLANAR.copy()
    bent.positions[0, 2] += 1e-4
    assert count(directions(bent)) == [1, 2, 2, 2]
    askew = PLANAR.copy()
    askew.positions += np.random.default_rng(0).normal(scale=3e-3, size=(4, 3))
    assert count(directions(askew)) == [3, 3, 3, 3]
    data = datasets.load("ammonia")["test"]
    assert count(directions(list(data.atoms))) == [3] * 400


def test_an_error_that_breaks_the_symmetry_is_an_error() -> None:
    wrong = torch.zeros(4, 3)
    wrong[0, 2] = 0.01  # out of the plane
    assert count(directions(PLANAR, torch.zeros(4, 3), wrong)) == [3, 1, 1, 1]


def perfect(data: datasets.Dataset, *, factor: float) -> Prediction:
    """Errors of the stated size in all directions that symmetry allows, and `factor` times that as uncertainty."""
    random = torch.Generator().manual_seed(0)
    label = torch.as_tensor(data.forces)
    sigma = 0.05 + 0.1 * torch.rand(len(label), generator=random, dtype=torch.float64)
    rows = allowed_directions(Batch.from_atoms(data.atoms, dtype=torch.float64), label)
    noise = torch.randn(len(label), 3, generator=random, dtype=torch.float64)[:, :, None]
    error = sigma[:, None] * (rows.transpose(1, 2) @ noise)[:, :, 0]
    forces = (rows.transpose(1, 2) @ (rows @ label[:, :, None]))[:, :, 0] + error
    return Prediction(energy=torch.as_tensor(data.energies), forces=forces, force_uncertainty=factor * sigma)


def test_zeros_do_not_reward_overconfidence() -> None:
    """Ammonia's grid is symmetric throughout: five of twelve directions of each frame are forbidden."""
    grid = datasets.load("ammonia")["grid"]
    label = torch.as_tensor(grid.forces)
    area, held, naive = {}, {}, {}
    for factor in (0.7, 1.0):
        said = perfect(grid, factor=factor)
        found = scoring.score(said, grid, resamples=0, wanted=("miscalibration", "coverage"))
        assert found.force["miscalibration"] is not None
        assert found.force["coverage"] is not None
        area[factor], held[factor] = found.force["miscalibration"].value, found.force["coverage"].value
        every = metrics.force_components(said.forces, label, said.force_uncertainty)
        naive[factor] = float(metrics.miscalibration_area(*every))
        whole = metrics.report(said, grid.batch(), wanted=["miscalibration area"], resamples=2, by_element=False)
        assert whole.columns[-1].values["miscalibration area"].value == pytest.approx(area[factor], abs=1e-4)
    assert area[1.0] < 0.01 < 0.08 < area[0.7]
    assert held[1.0] == pytest.approx(0.95, abs=0.01)
    assert naive[0.7] < naive[1.0]  # what counting the zeros would say


def test_a_scale_learnt_from_symmetric_structures_is_the_right_one() -> None:
    grid = datasets.load("ammonia")["grid"]
    found = calibration.calibrate("scalar", perfect(grid, factor=0.5), grid)
    torch.testing.assert_close(found.forces[0](torch.ones(1, dtype=torch.float64)), torch.tensor([2.0]).double(),
                               rtol=0.03, atol=0)  # fmt: skip


def test_where_nothing_is_allowed_there_is_nothing_to_score() -> None:
    crystal, zero = bulk("Si", cubic=True), torch.zeros(8, 3)
    with pytest.raises(UndefinedMetric, match="symmetry makes every force zero"):
        metrics.force_components(zero, zero, torch.ones(8), directions=directions(crystal))
    with pytest.raises(ValueError, match=r"directions has shape \(4, 3, 3\), expected \(8, 3, 3\)"):
        metrics.force_components(zero, zero, torch.ones(8), directions=directions(PLANAR))
