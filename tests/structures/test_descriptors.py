"""Descriptors: hand-made structures with known answers, what they must not notice, and what they refuse."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from uqlib.structures import descriptors

ETHANOL = molecule("CH3CH2OH")
SALT = bulk("NaCl", "rocksalt", a=5.64, cubic=True)


def moved(atoms: Atoms, *, seed: int = 0, scale: float = 0.05) -> Atoms:
    copy = atoms.copy()
    copy.rattle(scale, seed=seed)
    return copy


def test_inverse_distances_of_water_are_those_of_the_hand():
    water = Atoms("OHH", [[0, 0, 0], [0.8, 0, 0], [0, 0, 1.0]])
    (row,) = descriptors.inverse_distances([water])
    np.testing.assert_allclose(row, [1 / np.hypot(0.8, 1.0), 1 / 0.8, 1 / 1.0])  # H-H, then H-O from the nearest on


def test_inverse_distances_do_not_notice_motions_mirrors_and_names():
    first = moved(ETHANOL)
    turned = first.copy()
    turned.rotate(33, (1, 2, 3))
    turned.translate((3, 2, 1))
    mirrored = first.copy()
    mirrored.positions[:, 0] *= -1
    renamed = first[np.random.default_rng(1).permutation(len(first))]
    rows = descriptors.inverse_distances([first, turned, mirrored, renamed])
    np.testing.assert_allclose(rows, rows[:1].repeat(4, axis=0), atol=1e-12)
    other = descriptors.inverse_distances([moved(ETHANOL, seed=1)])
    assert np.abs(other - rows[0]).max() > 1e-3


@pytest.mark.parametrize("frames", [[], ETHANOL, [SALT], [ETHANOL, molecule("H2O")], [Atoms("H")]])
def test_inverse_distances_refuse_what_has_none(frames):
    with pytest.raises(ValueError, match="frames"):
        descriptors.inverse_distances(frames)


def test_rock_salt_has_six_neighbours_at_right_angles():
    frames = [SALT, SALT]
    assert descriptors.coordination(frames, "Na", "Cl", longest=3.0).tolist() == [6] * 8
    assert descriptors.coordination(frames, "Na", "Na", longest=4.1).tolist() == [12] * 8  # without itself
    assert descriptors.coordination(frames, "Na", "Cl", longest=2.0).tolist() == [0] * 8
    angles = descriptors.bond_angles([SALT], "Cl", "Na", longest=3.0)
    assert len(angles) == 4 * 15  # pairs of six arms
    assert sorted(set(angles.round(6))) == [90.0, 180.0]
    assert len(descriptors.bond_angles([SALT], "Cl", "Na", longest=2.0)) == 0


def test_pairs_count_once():
    np.testing.assert_allclose(descriptors.pair_distances([SALT], "Na", "Cl", longest=3.0), [2.82] * 24)
    np.testing.assert_allclose(descriptors.pair_distances([SALT], "Na", "Na", longest=4.1), [5.64 / 2**0.5] * 24)
    water = molecule("H2O")
    distance = water.get_distance(1, 2)
    np.testing.assert_allclose(descriptors.pair_distances([water], "H", "H", longest=3.0), [distance])


def test_radial_distribution_has_its_peaks_where_the_neighbours_are_and_counts_them():
    cell = SALT.repeat(2)
    r, g = descriptors.radial_distribution([cell, moved(cell)], "Na", "Cl", longest=4.0, points=400)
    assert g.shape == (2, 400)
    assert r[g[0].argmax()] == pytest.approx(2.82, abs=0.02)
    density = 32 / cell.get_volume()
    assert np.sum(4 * np.pi * r**2 * density * g, axis=1) * (r[1] - r[0]) == pytest.approx([6, 6], abs=0.05)


def test_radial_distribution_of_random_points_is_one():
    rng = np.random.default_rng(0)
    gas = [Atoms("He400", rng.uniform(0, 12, (400, 3)), cell=[12] * 3, pbc=True) for _ in range(20)]
    r, g = descriptors.radial_distribution(gas, "He", "He", smoothing=0.2)
    assert g.mean(axis=0)[r > 2] == pytest.approx(1.0, abs=0.03)


def test_an_ideal_gas_has_a_distribution_of_one_however_few_its_atoms():
    """Five atoms: each has four others, and they are anywhere. Smooth or counted, of equal elements or not."""
    rng = np.random.default_rng(0)
    gas = [Atoms("He5Ne5", rng.uniform(0, 10, (10, 3)), cell=[10] * 3, pbc=True) for _ in range(1000)]
    for second in ("He", "Ne"):
        r, smooth = descriptors.radial_distribution(gas, "He", second, longest=9.0, smoothing=0.3, points=30)
        edges, counted = descriptors.rdf(gas, "He", second, cutoff=9.0, bins=6)
        assert smooth[:, (r > 5) & (r < 8.5)].mean() == pytest.approx(1.0, abs=0.01)
        assert counted[edges > 3] == pytest.approx(1.0, abs=0.04)


def test_a_larger_cell_of_a_crystal_has_the_same_neighbours():
    for second, few, many in (("Cl", 4, 32), ("Na", 3, 31)):
        _, one = descriptors.radial_distribution([SALT], "Na", second)
        _, eight = descriptors.radial_distribution([SALT.repeat(2)], "Na", second)
        np.testing.assert_allclose(one * few / 4, eight * many / 32, atol=1e-9)


def test_angles_between_two_kinds_of_neighbours():
    chloromethane = molecule("CH3Cl")
    found = descriptors.bond_angles([chloromethane], "H", "C", "Cl", longest=1.9)
    np.testing.assert_allclose(found, [chloromethane.get_angle(h, 0, 1) for h in (2, 3, 4)])
    assert len(descriptors.bond_angles([chloromethane], "H", "C", "H", longest=1.9)) == 3


@pytest.mark.parametrize(
    ("frames", "options", "words"),
    [
        ([ETHANOL], {"first": "C"}, "inverse_distances"),
        ([SALT], {"first": "Si"}, "hold Si"),
        ([SALT], {"first": "Xy"}, "'Xy'"),
        ([SALT], {"longest": -1.0}, "longest"),
        ([SALT], {"smoothing": 0.0}, "smoothing"),
        ([], {}, "frames"),
    ],
)
def test_radial_distribution_refuses(frames, options, words):
    options = {"first": "Na"} | options
    with pytest.raises(ValueError, match=words):
        descriptors.radial_distribution(frames, second="H" if frames == [ETHANOL] else "Cl", **options)


def test_projection_finds_the_direction_of_most_variance():
    rng = np.random.default_rng(0)
    direction = np.array([3.0, 0.0, 4.0]) / 5
    table = 7.0 + rng.normal(size=(200, 1)) * direction + 0.01 * rng.normal(size=(200, 3))
    found = descriptors.Projection.fit(table, components=2)
    assert abs(found.axes[0] @ direction) == pytest.approx(1.0, abs=1e-3)
    assert found.shares[0] > 0.99
    assert found.project(table).mean(axis=0) == pytest.approx([0, 0], abs=1e-12)
    step = found.project(table[:1] + 2 * direction) - found.project(table[:1])
    assert np.abs(step[0, 0]) == pytest.approx(2.0, abs=1e-3)  # keeps lengths


def test_projection_and_novelty_refuse_what_does_not_fit():
    table = np.eye(3)
    with pytest.raises(ValueError, match="components: got 4"):
        descriptors.Projection.fit(table, components=4)
    with pytest.raises(ValueError, match="shape \\(3,\\)"):
        descriptors.Projection.fit(np.ones(3))
    with pytest.raises(ValueError, match="2 numbers a structure, fitted to 3"):
        descriptors.Projection.fit(table).project(np.ones((1, 2)))
    with pytest.raises(ValueError, match="known: got 2"):
        descriptors.novelty(table, np.ones((1, 2)))
    with pytest.raises(ValueError, match="finite"):
        descriptors.novelty(table * np.nan, table)


def test_novelty_is_the_distance_to_the_nearest():
    known = np.array([[0.0, 0.0], [10.0, 0.0]])
    assert descriptors.novelty([[0, 0], [3, 4], [9, 0]], known).tolist() == [0.0, 5.0, 1.0]


def test_inside_the_box_is_inside_in_every_number():
    known = np.array([[0.0, 0.0], [1.0, 2.0]])
    assert descriptors.inside_box([[0.5, 1.0], [1.0, 2.0], [0.5, 2.1], [-0.1, 1.0]], known).tolist() == [
        True,
        True,
        False,
        False,
    ]


def test_force_norms_are_lengths_of_labels():
    frames = [molecule("H2"), molecule("N2")]
    frames[0].calc = SinglePointCalculator(frames[0], forces=np.array([[0, 3.0, 4.0], [0, 0, -1.0]]))
    with pytest.raises(ValueError, match="1 of 2 have no forces"):
        descriptors.force_norms(frames)
    assert descriptors.force_norms(frames[:1]).tolist() == [5.0, 1.0]
