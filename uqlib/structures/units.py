"""Factors into the units of this library: eV, Å, fs, K, and eV/Å³ for stress.

Everything inside `uqlib` is in these units; data in others are converted once, when they are loaded.
Values: CODATA 2018, written out so that importing costs nothing. (`ase.units` has those of 2014 where not told
otherwise; they agree to seven digits, the Boltzmann constant to six.)
"""

EV_PER_HARTREE = 27.211386245988  # eV/hartree
ANGSTROM_PER_BOHR = 0.529177210903  # Å/bohr
EV_PER_KCAL_MOL = 4184.0 / 96485.33212331  # one thermochemical calorie is 4.184 J; the Faraday constant in C/mol
EV_PER_KJ_MOL = 1000.0 / 96485.33212331  # eV mol/kJ
KB = 8.617333262e-5  # eV/K
EV_PER_ANGSTROM3_PER_GPA = 1.0 / 160.2176634  # eV/Å³/GPa

EV_PER_ANGSTROM_PER_HARTREE_PER_BOHR = EV_PER_HARTREE / ANGSTROM_PER_BOHR  # of forces
ANGSTROM_FS2_PER_EV_ANGSTROM_AMU = 0.009648533212331  # the acceleration of 1 u under 1 eV/Å, in Å/fs²

# What people write for a unit, and what one of it is here. Upper and lower case are one: see `factor`.
EV_PER = {
    "eV": 1.0,
    "meV": 1e-3,
    "kcal/mol": EV_PER_KCAL_MOL,
    "kJ/mol": EV_PER_KJ_MOL,
    "hartree": EV_PER_HARTREE,
    "rydberg": EV_PER_HARTREE / 2,
}
ANGSTROM_PER = {"Å": 1.0, "bohr": ANGSTROM_PER_BOHR, "nm": 10.0}
EV_PER_ANGSTROM3_PER = {
    "eV/Å³": 1.0,
    "GPa": EV_PER_ANGSTROM3_PER_GPA,
    "kbar": 0.1 * EV_PER_ANGSTROM3_PER_GPA,
    "bar": 1e-4 * EV_PER_ANGSTROM3_PER_GPA,
    "hartree/bohr³": EV_PER_HARTREE / ANGSTROM_PER_BOHR**3,
}
ALIASES = {
    "ha": "hartree", "eh": "hartree", "ry": "rydberg", "angstrom": "å", "ang": "å", "a": "å", "kcal": "kcal/mol",
    "kj": "kj/mol", "ev/å^3": "ev/å³", "ev/a^3": "ev/å³", "ev/ang^3": "ev/å³", "ev/angstrom^3": "ev/å³",
    "ev/å3": "ev/å³", "ev/a3": "ev/å³", "a0": "bohr", "hartree/bohr^3": "hartree/bohr³",
}  # fmt: skip


def factor(unit: str, table: dict[str, float], name: str) -> float:
    """What one `unit` is in ours: `factor("Ha", EV_PER, "energy_unit")` is 27.2.

    Raises ValueError, with the `name` of the argument, for a unit that the table does not have.
    """
    plain = str(unit).strip().lower().replace("\u212b", "å")  # the sign of the unit, and the letter
    plain = ALIASES.get(plain, plain)
    found = {known.lower(): value for known, value in table.items()}.get(plain)
    if found is None:
        raise ValueError(f"{name}: got {unit!r}, expected one of {', '.join(table)}")
    return found


def force_factor(unit: str, name: str = "forces_unit") -> float:
    """What one `unit` of force, written as energy/length ("kcal/mol/Å", "hartree/bohr"), is in eV/Å."""
    energy, slash, length = str(unit).rpartition("/")
    if not slash:
        raise ValueError(f"{name}: got {unit!r}, expected an energy over a length, as eV/Å or hartree/bohr")
    return factor(energy, EV_PER, name) / factor(length, ANGSTROM_PER, name)
