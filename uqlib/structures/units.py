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
