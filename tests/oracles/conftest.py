"""CP2K as it is installed, or as it once was."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

needs_cp2k = pytest.mark.skipif(shutil.which("cp2k.psmp") is None, reason="CP2K (cp2k.psmp) is not installed")
RECORDED = Path(__file__).parent / "recorded"
"""Inputs of ours and what CP2K 2023.1 (Debian) printed of them, from the SCF to the stress, by the inputs' digests."""


def replayed(command: list[str], *, folder: Path, **_: object) -> subprocess.CompletedProcess[str]:
    """What CP2K did with this input once. The coarse SCF that comes first only leaves its orbitals."""
    text = Path(folder, "label.inp").read_text(encoding="utf-8")
    Path(folder, "label-RESTART.wfn").touch()
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    said = (RECORDED / f"{name}.out").read_text(encoding="utf-8") if "ENERGY_FORCE" in text else ""
    return subprocess.CompletedProcess(command, 0, said, "")


@pytest.fixture(params=["recorded", pytest.param("run", marks=needs_cp2k)])
def cp2k(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """CP2K itself where it is installed, and everywhere what it printed once."""
    if request.param == "recorded":
        monkeypatch.setattr("uqlib.oracles.cp2k.run_program", replayed)
        monkeypatch.setattr(shutil, "which", lambda program: program)
