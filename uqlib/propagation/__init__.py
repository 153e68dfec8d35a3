"""How sure is a result that was computed with a potential? Error bars that travel from the members to the result.

For any predictor with members: an ensemble, a shallow ensemble, samples of LLPR, calculators that disagree. What is
wanted is computed once on their mean, and once with each: a `Spread`. How far the members' results lie apart is the
error bar. Nothing is said of errors that all members share.

`members`: one member as a potential of its own, and any quantity from each (`each_member`).
`energies`: differences and barriers, whose errors cancel in part. `paths`: where barriers lie.
`geometry`: relaxed structures. `vibrations`: frequencies and free energies. `crystals`: volumes and elastic constants.
`reweighting`: averages along one trajectory as each member would have them. `diffusion`: how far atoms wander.

May import: whatever is below (structures, prediction, interfaces, methods, dynamics). A newcomer adds a function from
a predictor and structures to a `Spread`, in the file of its subject, with a test against a closed form.
"""

from .crystals import EquationOfState, elastic_constants, equation_of_state
from .diffusion import diffusion, mean_square_displacement
from .energies import Differences, barrier, energy_differences
from .geometry import Hessians, displaced, hessians, relaxed_members, second_derivatives, shifts, stationary
from .members import Member, Spread, along, each_member, members_of
from .paths import minimum_energy_path, relax_band
from .reweighting import Reweighted, radial_distribution, reweight
from .vibrations import free_energy, frequencies, wave_numbers

__all__ = [
    "Differences",
    "EquationOfState",
    "Hessians",
    "Member",
    "Reweighted",
    "Spread",
    "along",
    "barrier",
    "diffusion",
    "displaced",
    "each_member",
    "elastic_constants",
    "energy_differences",
    "equation_of_state",
    "free_energy",
    "frequencies",
    "hessians",
    "mean_square_displacement",
    "members_of",
    "minimum_energy_path",
    "radial_distribution",
    "relax_band",
    "relaxed_members",
    "reweight",
    "second_derivatives",
    "shifts",
    "stationary",
    "wave_numbers",
]
