"""Oracles: electronic-structure codes that label a geometry with its energy and forces.

An oracle is anything with a `label(atoms)` method. The two here are small frozen dataclasses: they hold settings, no
state, and can be pickled, so that `label_many` works with any `concurrent.futures.Executor`.

    oracle = PySCFOracle(level="bp86-d3/def2-svp")
    results = label_many(oracle, frames, executor=ProcessPoolExecutor(4))
"""

from uqlib.oracles.cp2k import CP2KOracle
from uqlib.oracles.labelling import (
    LabelResult,
    Oracle,
    OracleError,
    check_geometry,
    geometry_digest,
    label_many,
    labelled_copy,
)
from uqlib.oracles.pyscf import PySCFOracle
from uqlib.oracles.vashishta import VashishtaOracle

__all__ = [
    "CP2KOracle",
    "LabelResult",
    "Oracle",
    "OracleError",
    "PySCFOracle",
    "VashishtaOracle",
    "check_geometry",
    "geometry_digest",
    "label_many",
    "labelled_copy",
]
