"""Active learning: fit, propose, label, refit, generation after generation, until labels or patience run out.

    learning = ActiveLearning(method=Ensemble(), oracle=PySCFOracle(level="bp86-d3/def2-svp"), propose=Attacked())
    history = learning.run(train, valid, seed=0, folder="runs/ammonia", measures={"force MAE": force_mae(test)})

Killed at any moment, the same call goes on where it stopped and ends with the same history.
"""

from .dynamics import FromBiasedDynamics, OnTheFly, Stop, stops
from .history import Generation, History
from .labels import LabelStore
from .loop import ActiveLearning
from .measures import barrier_error, energy_mae, force_mae, force_spearman, lifetimes, stress_mae, surviving
from .proposals import Attacked, Displaced, FromDynamics, FromPool, Proposal

__all__ = [
    "ActiveLearning",
    "Attacked",
    "Displaced",
    "FromBiasedDynamics",
    "FromDynamics",
    "FromPool",
    "Generation",
    "History",
    "LabelStore",
    "OnTheFly",
    "Proposal",
    "Stop",
    "barrier_error",
    "energy_mae",
    "force_mae",
    "force_spearman",
    "lifetimes",
    "stops",
    "stress_mae",
    "surviving",
]
