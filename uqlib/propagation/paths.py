"""Paths of least energy between two minima, on a potential itself.

Nudged elastic band with a climbing image: Henkelman, Uberuaga, Jónsson, J. Chem. Phys. 113, 9901 (2000), as in ASE.
"""

from __future__ import annotations

from collections.abc import Sequence

import ase
from ase.mep import NEB
from ase.optimize import BFGS, FIRE

from uqlib.interfaces.ase import UncertaintyCalculator
from uqlib.prediction import Predictor
from uqlib.propagation.members import precise

ENDS = 0.1  # of the force that is left on the band: what is left on its ends
ROUGH = 0.2  # eV/Å: once no larger force is left on the band, its highest image climbs


def relax_band(images: list[ase.Atoms], *, force: float, steps: int) -> bool:
    """Relax both ends, then the band, then let its highest image climb; the images move, each by its calculator.

    Returns whether all forces fell below `force` eV/Å, in at most `steps` steps of each of the four optimisations.
    """
    settled = [BFGS(end, logfile=None).run(force * ENDS, steps) for end in (images[0], images[-1])]  # pyright: ignore[reportArgumentType]
    converged = all(settled)
    for climbing, limit in ((False, ROUGH), (True, force)):
        neb = NEB(images, climb=climbing, method="improvedtangent", remove_rotation_and_translation=True)
        converged = FIRE(neb, logfile=None).run(limit, steps) and converged  # pyright: ignore[reportArgumentType]
    return bool(converged)


def minimum_energy_path(
    predictor: Predictor, images: Sequence[ase.Atoms], *, force: float = 0.02, steps: int = 300
) -> list[ase.Atoms]:
    """The path of least energy that `images` relax to on the (mean) potential, in float64; they are left alone.

    With a `Member` of a predictor in its place, that member's own path.

    Args:
        predictor: any.
        images: at least three structures with the same atoms, from one minimum to another, at even steps.
        force: largest force that is left, eV/Å.
        steps: of each optimisation, at most.

    Raises:
        ValueError: fewer than three images, or a band that does not come to rest.
    """
    if len(images) < 3:
        raise ValueError(f"images: got {len(images)}, expected at least 3: two minima and something between them")
    band = [ase.Atoms(i.numbers, positions=i.positions, cell=i.cell, pbc=i.pbc) for i in images]
    exact = precise(predictor)
    for image in band:
        image.calc = UncertaintyCalculator(exact)
    if not relax_band(band, force=force, steps=steps):
        raise ValueError(
            f"images: after {steps} steps forces above {force} eV/Å are left on the band; allow more `steps` or a "
            "larger `force`, or start from images nearer to the path"
        )
    return band
