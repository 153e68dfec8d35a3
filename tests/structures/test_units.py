"""Factors against those of ASE and against physics."""

import math
from typing import Any

import pytest
from ase.units import create_units

from uqlib.structures import units

CODATA: Any = create_units("2018")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (units.EV_PER_HARTREE, CODATA.Hartree),
        (units.ANGSTROM_PER_BOHR, CODATA.Bohr),
        (units.EV_PER_KCAL_MOL, CODATA.kcal / CODATA.mol),
        (units.EV_PER_KJ_MOL, CODATA.kJ / CODATA.mol),
        (units.KB, CODATA.kB),
        (units.EV_PER_ANGSTROM3_PER_GPA, CODATA.GPa),
        (units.EV_PER_ANGSTROM_PER_HARTREE_PER_BOHR, CODATA.Hartree / CODATA.Bohr),
        (units.ANGSTROM_FS2_PER_EV_ANGSTROM_AMU, CODATA.fs**2),  # ASE's time is Å sqrt(amu / eV)
    ],
)
def test_against_ase(ours: float, theirs: float) -> None:
    assert ours == pytest.approx(theirs, rel=1e-9)


def test_the_acceleration_gives_the_frequency_of_a_known_oscillator() -> None:
    """N2: a force constant of 143.2 eV/Å² (2294 N/m) and 14.003 amu each vibrate at about 2359 cm⁻¹."""
    reduced_mass = 14.00307 / 2
    angular = math.sqrt(143.2 / reduced_mass * units.ANGSTROM_FS2_PER_EV_ANGSTROM_AMU)  # per fs
    assert angular / (2 * math.pi) / 2.99792458e-5 == pytest.approx(2359, rel=0.005)
