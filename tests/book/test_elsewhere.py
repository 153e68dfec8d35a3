"""One setting from outside moves every seed of a program and of all that it starts; another sets the threads."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = ROOT / "book" / "elsewhere"

DRAWS = """
import json, pickle, subprocess, sys
import numpy as np
import torch
from numpy.random import default_rng
from sklearn.utils import check_random_state
from uqlib.common.processes import worker_pool

def draws():
    pickle.loads(pickle.dumps(torch.set_num_threads))(1)  # as a pool sends it to its workers
    for sent in (torch.manual_seed, torch.Generator, default_rng, np.random.RandomState, np.random.SeedSequence):
        assert pickle.loads(pickle.dumps(sent)) is sent
    torch.manual_seed(3)
    found = {
        "default": torch.rand(()).item(),
        "generator": torch.rand((), generator=torch.Generator().manual_seed(3)).item(),
        "rng": default_rng(3).random(),
        "words": default_rng([3, 1]).random(),
        "sequence": default_rng(np.random.SeedSequence([3, 1])).random(),
        "spawned": [int(each.generate_state(1)[0]) for each in np.random.SeedSequence(3).spawn(2)],
        "state": np.random.RandomState(3).random(),
        "sklearn": check_random_state(3).random(),
    }
    np.random.seed(3)
    return {**found, "global": np.random.random(), "threads": torch.get_num_threads()}

if __name__ == "__main__":
    found = draws()
    if "family" in sys.argv:
        with worker_pool(1) as pool:
            found["in a worker"] = pool.submit(draws).result()
        child = subprocess.run([sys.executable, __file__, "child"], capture_output=True, text=True, check=True)
        found["in a child"] = json.loads(child.stdout)
    print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that draws; asked for its family, it also starts a worker and a child that do."""
    path = tmp_path_factory.mktemp("elsewhere") / "draws.py"
    path.write_text(DRAWS)
    return path


def drawn(script: Path, *arguments: str, paths: tuple[Path, ...] = (ELSEWHERE, ROOT), **settings: str) -> Any:
    """What the program draws under these settings."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), **settings}
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "sitecustomize" not in done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def moved(script: Path) -> dict[str, Any]:
    """Under one shift, and with three threads."""
    return drawn(script, "family", UQLIB_SEED_SHIFT="1", UQLIB_THREADS="3")


def test_every_seed_moves_with_the_shift(script: Path, moved: dict[str, Any]) -> None:
    plain, other = drawn(script, UQLIB_SEED_SHIFT="0"), drawn(script, UQLIB_SEED_SHIFT="2")
    assert plain == drawn(script, paths=(ROOT,)), "a shift of 0 changes nothing"
    for name in set(plain) - {"threads"}:
        assert len({json.dumps(each[name]) for each in (plain, moved, other)}) == 3, name
    assert len(set(moved["spawned"])) == 2


@pytest.mark.parametrize("where", ["in a worker", "in a child"])
def test_what_a_program_starts_draws_the_same(where: str, moved: dict[str, Any]) -> None:
    assert moved[where] == {name: value for name, value in moved.items() if not name.startswith("in a")}
    assert moved[where]["threads"] == 3
