"""Molecular dynamics on any `Predictor`: many replicas in one batch, watched by their uncertainty.

`simulate` runs them and returns `Trajectories`; `Biased` makes them look for what is uncertain; rules say what "broken"
means; `survival` and `structure` look at what came out.
Written here although `torch-sim-atomistic` (Cohen et al. 2025) integrates batches, too, and does so well on a
GPU: its noise comes from torch's global generator, so that a replica's path depends on which others run beside it; it
searches neighbours anew at every step (no skin); a replica cannot leave a running batch; its HDF5 files do not survive
being killed while they are open; and it brings PyTables and h5py. What is needed here is a few hundred lines.
"""

from .bias import Biased, structure_uncertainty
from .integrators import Integrator, Langevin, NoseHoover, VelocityVerlet
from .randomness import thermal, thermal_each
from .rules import BondLengths, ClosestContact, Coordination, PotentialEnergy, Rule, ShortestDistance, Temperature
from .simulation import simulate
from .structure import bond_angles, distances, rdf
from .survival import CompetingRisks, Survival, competing_risks, survival, survival_over_seeds
from .trajectories import Ending, Trajectories

__all__ = [
    "Biased",
    "BondLengths",
    "ClosestContact",
    "CompetingRisks",
    "Coordination",
    "Ending",
    "Integrator",
    "Langevin",
    "NoseHoover",
    "PotentialEnergy",
    "Rule",
    "ShortestDistance",
    "Survival",
    "Temperature",
    "Trajectories",
    "VelocityVerlet",
    "bond_angles",
    "competing_risks",
    "distances",
    "rdf",
    "simulate",
    "structure_uncertainty",
    "survival",
    "survival_over_seeds",
    "thermal",
    "thermal_each",
]
