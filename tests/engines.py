"""What the tests of exported files share: the extra that they need, small predictors, and a run of i-PI."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ase
import ase.io
import ase.units
import numpy as np
import pytest
import samples
import torch

from uqlib.methods.dropout import Dropout
from uqlib.methods.ensemble import Ensemble
from uqlib.methods.evidential import Evidential
from uqlib.methods.llpr import LastLayer
from uqlib.methods.mve import MeanVariance
from uqlib.methods.shallow import Shallow

REASON = 'the extra is not installed: pip install "uqlib[engines]"'
needs_metatomic = pytest.mark.skipif(importlib.util.find_spec("metatomic") is None, reason=REASON)
needs_ase_client = pytest.mark.skipif(importlib.util.find_spec("metatomic_ase") is None, reason=REASON)
needs_ipi = pytest.mark.skipif(importlib.util.find_spec("ipi") is None, reason=REASON)
TORCHSCRIPT = "ignore:`torch.jit:DeprecationWarning"  # torch's word on what the format is made of

COMMON: Any = {"network": samples.NETWORK, "settings": samples.BRIEF}
RECIPES: dict[str, Any] = {
    "ensemble": Ensemble(members=3, **COMMON),
    "dropout": Dropout(rate=0.3, draws=3, **COMMON),
    "llpr": LastLayer(**COMMON),
    "shallow": Shallow(members=3, likelihood_settings=samples.BRIEF, **COMMON),
    "mve": MeanVariance(warm_up=0.5, **COMMON),
    "evidential": Evidential(**COMMON),
}
WITH_MEMBERS = ("ensemble", "dropout", "llpr", "shallow")


@functools.cache
def fitted(name: str, dtype: torch.dtype = torch.float64) -> Any:
    """Trained for two epochs, so that it errs and doubts."""
    data = samples.dataset()
    return RECIPES[name].fit(data["train"], data["valid"], seed=0, progress=False).to(dtype)


def structures() -> dict[str, ase.Atoms]:
    """Alone in space, periodic, skewed, and with a single atom that sees its own images."""
    skewed = samples.crystal(3)
    skewed.set_cell(np.asarray(skewed.cell) + np.array([[0, 0, 0], [0.9, 0, 0], [-0.4, 0.7, 0]]), scale_atoms=True)
    return {
        "molecule": samples.rattled("NH3", 0),
        "another": samples.rattled("H2O", 1),
        "crystal": samples.crystal(2),
        "skewed": skewed,
        "its own neighbour": samples.crystal(1, cubic=False),
    }


INPUT = """\
<simulation verbosity='low'>
  <output prefix='run'>
    <properties stride='1' filename='out'>
      [step, time{{femtosecond}}, conserved{{electronvolt}}, potential{{electronvolt}}]
    </properties>
    <trajectory filename='positions' stride='1' cell_units='angstrom'> positions{{angstrom}} </trajectory>
    <trajectory filename='committee' stride='1' extra_type='committee_pot'> extras </trajectory>
  </output>
  <total_steps>{steps}</total_steps>
  <ffsocket name='uq' mode='unix' pbc='false'>
    <address>here</address> <latency>1e-4</latency> <timeout>300</timeout>
  </ffsocket>
  <system>
    <initialize nbeads='1'>
      <file mode='ase'> start.xyz </file>
      <masses mode='manual' units='dalton'> {masses} </masses>
      <velocities mode='manual'> {velocities} </velocities>
    </initialize>
    <forces> <force forcefield='uq'/> </forces>
    <motion mode='dynamics'>
      <fixcom>False</fixcom>
      <dynamics mode='nve'> <timestep units='femtosecond'> {timestep} </timestep> </dynamics>
    </motion>
    <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
  </system>
</simulation>
"""


def run_ipi(folder: Path, start: ase.Atoms, model: Path, *, steps: int, timestep: float) -> None:
    """`steps` of i-PI at constant energy from `start` in `folder`, forces over a socket from its metatomic driver."""
    atomic_unit = ase.units.Bohr / (ase.units._aut * ase.units.s)  # of velocity; i-PI takes numbers in these
    numbers = {
        "masses": [float(mass) for mass in start.get_masses()],
        "velocities": [float(speed) for speed in (start.get_velocities() / atomic_unit).ravel()],
    }
    plain = ase.Atoms(start.numbers, positions=start.positions, cell=start.cell, pbc=True)
    ase.io.write(folder / "start.xyz", plain, format="extxyz")
    (folder / "input.xml").write_text(INPUT.format(steps=steps, timestep=timestep, **numbers))
    programs = Path(sys.executable).parent
    server = [programs / "i-pi", "-S", f"{folder}/", "input.xml"]
    options = f"template=start.xyz,model={model},energy_ensemble=True"
    client = [programs / "i-pi-py_driver", "-m", "metatomic", "-u", "-S", f"{folder}/", "-a", "here", "-o", options]
    with (folder / "server.log").open("w") as log, (folder / "client.log").open("w") as said:
        first = subprocess.Popen([sys.executable, *map(str, server)], cwd=folder, stdout=log, stderr=log)
        second = None
        try:
            while first.poll() is None and not (folder / "here").exists():
                time.sleep(0.1)
            second = subprocess.Popen([sys.executable, *map(str, client)], cwd=folder, stdout=said, stderr=said)
            ended = first.wait(500), second.wait(100)
        finally:
            for program in (first, second):
                if program is not None and program.poll() is None:
                    program.kill()
    assert ended == (0, 0), (folder / "server.log").read_text() + (folder / "client.log").read_text()
