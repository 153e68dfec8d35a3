"""Active learning: the loop improves what it is given, pays for no label twice, and does not mind being killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import samples
import torch

from uqlib import calibration, methods
from uqlib.active_learning import (
    ActiveLearning,
    Attacked,
    Displaced,
    FromDynamics,
    History,
    LabelStore,
    barrier_error,
    energy_mae,
    force_mae,
    force_spearman,
    lifetimes,
    surviving,
)
from uqlib.active_learning.history import Generation
from uqlib.active_learning.proposals import Candidates, drawn
from uqlib.attack import attack
from uqlib.calibration import Recalibrated
from uqlib.dynamics import BondLengths, Langevin, simulate, thermal
from uqlib.methods import Ensemble, LastLayer
from uqlib.methods.gmm import GaussianMixture
from uqlib.networks.training import Settings
from uqlib.oracles import OracleError
from uqlib.prediction import predict
from uqlib.structures.datasets import Dataset

TESTS = Path(__file__).parent
ATTACK = Attacked(steps=5, oversampling=2, percentile=0.0, rmsd=0.0)


@dataclass(frozen=True)
class Morse:
    """A stand-in oracle that writes down what it is asked, and cannot do what has a bond beyond `reach` Å."""

    diary: Path
    reach: float = 10.0
    version: str = "1"

    def label(self, atoms: ase.Atoms) -> ase.Atoms:
        with self.diary.open("a") as file:
            file.write(json.dumps(atoms.positions.tolist()) + "\n")
        if atoms.get_all_distances().max() > self.reach:
            raise OracleError("too far apart", atoms)
        return samples.label(atoms)

    def asked(self) -> list[str]:
        return self.diary.read_text().splitlines() if self.diary.exists() else []


def method(**changes: Any) -> Ensemble:
    return replace(Ensemble(members=2, network=samples.NETWORK, settings=Settings(epochs=3, batch_size=4)), **changes)


def start() -> tuple[Dataset, Dataset, Dataset]:
    data = samples.dataset(names=("NH3",))
    return data["train"], data["valid"], data["test"]


def run(
    folder: Path, *, seed: int = 0, label_folder: Path | None = None, executor: Any = None, **changes: Any
) -> History:
    train, valid, test = start()
    learning: dict[str, Any] = {
        "method": method(),
        "oracle": Morse(folder.parent / "diary"),
        "propose": ATTACK,
        "generations": 2,
        "labels": 4,
    }
    return ActiveLearning(**{**learning, **changes}).run(
        train,
        valid,
        seed=seed,
        folder=folder,
        label_folder=label_folder,
        measures={"force MAE": force_mae(test)},
        executor=executor,
        progress=False,
    )


def same(first: History, second: History) -> bool:
    """The same trace to the last bit."""
    positions = [[[a.positions.tolist() for a in new] for new in history.added] for history in (first, second)]
    forces = [[[a.get_forces().tolist() for a in new] for new in history.added] for history in (first, second)]
    return first.generations == second.generations and positions[0] == positions[1] and forces[0] == forces[1]


def test_generations_grow_the_data_by_what_was_labelled(tmp_path: Path) -> None:
    history = run(tmp_path / "run", label_folder=tmp_path / "labels")
    train, valid, test = start()
    assert [g.number for g in history.generations] == [0, 1, 2]
    assert [g.train + g.valid for g in history.generations] == [len(train) + len(valid) + 4 * k for k in range(3)]
    assert [len(new) for new in history.added] == [4, 4]
    assert history.generations[1].valid == len(valid)  # a fifth of four is none yet
    assert len(Morse(tmp_path / "diary").asked()) == 8
    fitted = methods.load(history.predictor_path())
    assert history.measure("force MAE")[-1] == pytest.approx(
        float((predict(fitted, test).forces - torch.as_tensor(test.forces)).abs().mean()), rel=1e-6
    )
    assert "generation 2: trained on" in (tmp_path / "run" / "log.txt").read_text()
    with pytest.raises(KeyError, match=r"got 'nothing', measured were \['force MAE'\]"):
        history.measure("nothing")


def test_one_seed_one_trace(tmp_path: Path) -> None:
    first = run(tmp_path / "a" / "run")
    assert same(first, run(tmp_path / "b" / "run"))
    assert not same(first, run(tmp_path / "c" / "run", seed=1))


def test_a_finished_run_is_read_and_costs_nothing(tmp_path: Path) -> None:
    first = run(tmp_path / "run")
    asked, before = Morse(tmp_path / "diary").asked(), time.time()
    assert same(first, run(tmp_path / "run"))
    assert Morse(tmp_path / "diary").asked() == asked
    assert all(path.stat().st_mtime < before for path in tmp_path.rglob("predictor.uq"))


def test_another_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "run", generations=1)
    with pytest.raises(ValueError, match=r"holds a run with another seed \(0\), now 1; give this one a folder"):
        run(tmp_path / "run", generations=1, seed=1)
    with pytest.raises(ValueError, match="holds a run with another recipe"):
        run(tmp_path / "run", generations=1, propose=replace(ATTACK, temperature=300.0))


def test_runs_share_labels_but_not_those_of_another_oracle(tmp_path: Path) -> None:
    oracle, shared = Morse(tmp_path / "diary"), tmp_path / "labels"
    frames = [samples.rattled("NH3", k) for k in range(3)]
    first = LabelStore(shared, oracle).label(frames, progress=False)
    again = LabelStore(shared, oracle).label([*frames, frames[0]], progress=False)
    assert len(oracle.asked()) == 3
    for one, other in zip(first, again, strict=False):
        assert one.atoms is not None
        assert other.atoms is not None
        assert np.array_equal(one.atoms.get_forces(), other.atoms.get_forces())
        np.testing.assert_allclose(one.atoms.get_forces(), samples.label(one.atoms).get_forces(), atol=1e-12)
    LabelStore(shared, replace(oracle, version="2")).label(frames, progress=False)
    assert len(oracle.asked()) == 6
    LabelStore(shared, replace(oracle, reach=9.0)).label(frames, progress=False)
    assert len(oracle.asked()) == 9


def test_two_like_geometries_cost_one_label(tmp_path: Path) -> None:
    oracle = Morse(tmp_path / "diary")
    atoms = samples.rattled("NH3", 0)
    moved = atoms.copy()
    moved.positions += 1e-9
    results = LabelStore(tmp_path / "labels", oracle).label([atoms, moved], progress=False)
    assert len(oracle.asked()) == 1
    assert [r.index for r in results] == [0, 1]


def test_stress_and_cell_survive_the_store(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Stressed:
        def label(self, atoms: ase.Atoms) -> ase.Atoms:
            known = samples.label(atoms)
            known.calc.results["stress"] = np.arange(6.0)  # pyright: ignore[reportOptionalMemberAccess]
            return known

    (result,) = LabelStore(tmp_path, Stressed()).label([samples.crystal()], progress=False)
    assert result.atoms is not None
    np.testing.assert_allclose(result.atoms.get_stress(), np.arange(6.0))
    np.testing.assert_allclose(np.asarray(result.atoms.cell), np.asarray(samples.crystal().cell), atol=1e-6)


def test_failures_are_recorded_skipped_and_not_tried_again(tmp_path: Path) -> None:
    train, _, _ = start()
    far = sorted(atoms.get_all_distances().max() for atoms in train.atoms)[len(train) // 2]
    oracle = Morse(tmp_path / "diary", reach=float(far))
    history = run(tmp_path / "run", oracle=oracle)
    failed = [len(g.failed) for g in history.generations[:-1]]
    assert sum(failed) > 0
    assert all(g.labelled + len(g.failed) == 4 for g in history.generations[:-1])
    assert "no label: too far apart" in (tmp_path / "run" / "log.txt").read_text()
    asked = len(oracle.asked())
    (tmp_path / "run" / "generation-0" / "record.json").unlink()
    assert same(history, run(tmp_path / "run", oracle=oracle))
    assert len(oracle.asked()) == asked


def test_labels_come_from_an_executor(tmp_path: Path) -> None:
    alone = run(tmp_path / "a" / "run", generations=1)
    with ThreadPoolExecutor(3) as executor:
        together = run(tmp_path / "b" / "run", generations=1, executor=executor)
    assert same(alone, together)


def test_nothing_worth_a_label_ends_the_run(tmp_path: Path) -> None:
    history = run(tmp_path / "run", propose=replace(ATTACK, closest=100.0))
    assert len(history.generations) == 1
    assert history.generations[0].candidates == {"too close": 8}


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
def test_the_validation_set_gets_its_share(tmp_path: Path, share: float) -> None:
    history = run(tmp_path / "run", valid_share=share, generations=1)
    before, after = history.generations
    assert after.valid - before.valid == 4 * share
    assert after.train - before.train == 4 * (1 - share)


@pytest.mark.parametrize(
    "propose", [ATTACK, Displaced(oversampling=2), FromDynamics(temperature=5e3, steps=60, percentile=0.0, rmsd=0.0)]
)
def test_proposals(tmp_path: Path, propose: Any) -> None:
    train, valid, _ = start()
    predictor = method().fit(train, valid, seed=0, progress=False)
    found, again, other = (propose.candidates(predictor, train, number=3, seed=seed) for seed in (0, 0, 1))
    assert isinstance(found, Candidates)
    assert 1 <= len(found.structures) <= 3
    assert found.counts["kept"] == len(found.structures)
    assert [a.positions.tolist() for a in found.structures] == [a.positions.tolist() for a in again.structures]
    assert [a.positions.tolist() for a in found.structures] != [a.positions.tolist() for a in other.structures]


def test_choices_spread_over_all_ranks_of_uncertainty() -> None:
    train, valid, _ = start()
    predictor = method().fit(train, valid, seed=0, progress=False)
    every = replace(ATTACK, oversampling=1).candidates(predictor, train, number=9, seed=0).structures
    options = {"number": 3, "seed": 0}
    highest, spread = (
        replace(ATTACK, oversampling=3, choose=choose).candidates(predictor, train, **options)
        for choose in ("highest", "spread")
    )
    places = [[atoms.positions.tolist() for atoms in found] for found in (every, highest.structures, spread.structures)]
    assert places[1] == places[0][:3]
    assert len(every) > 6
    assert places[2] == [places[0][k] for k in (0, round((len(every) - 1) / 2), -1)]
    assert spread.counts == highest.counts
    assert spread.counts["kept"] == 3 == len(every) - spread.counts["over the limit"]
    with pytest.raises(ValueError, match="choose: got 'best', expected 'highest' or 'spread'"):
        replace(ATTACK, choose="best")


def test_random_displacement_keeps_what_is_possible() -> None:
    train, valid, _ = start()
    predictor = method().fit(train, valid, seed=0, progress=False)
    wild = Displaced(scale=0.6, closest=0.9).candidates(predictor, train, number=5, seed=0)
    assert wild.counts["too close"] > 0
    still = Displaced(scale=0.0, rmsd=1e-3).candidates(predictor, train, number=5, seed=0)
    assert still.structures == []
    assert still.counts["duplicate"] > 15


def test_a_method_of_one_network_that_only_ranks(tmp_path: Path) -> None:
    gmm = GaussianMixture(network=samples.NETWORK, settings=Settings(epochs=3, batch_size=4), components=1)
    history = run(tmp_path / "a", method=gmm, generations=1)
    assert history.generations[0].labelled > 0
    history = run(tmp_path / "b", method=Recalibrated(method=gmm), generations=1)
    fitted = calibration.load(history.predictor_path())
    assert predict(fitted, start()[2]).unit == "eV/Å"
    assert same(history, run(tmp_path / "b", method=Recalibrated(method=gmm), generations=1))


def test_measures() -> None:
    train, valid, test = start()
    predictor = method().fit(train, valid, seed=0, progress=False)
    p = predict(predictor, test)
    errors = np.abs(p.energy.numpy() - test.energies) / 4
    assert energy_mae(test)(predictor) == pytest.approx(errors.mean())
    assert -1 <= force_spearman(test)(predictor) <= 1
    high, low = int(test.energies.argmax()), int(test.energies.argmin())
    predicted = float(p.energy[high] - p.energy[low])
    assert barrier_error(test)(predictor) == pytest.approx(predicted - np.ptp(test.energies), abs=1e-4)
    with pytest.raises(ValueError, match="got 2 frames, expected at least 3"):
        barrier_error(test.take([0, 1]))


def test_survival_counts_what_is_whole() -> None:
    train, valid, _ = start()
    predictor = method().fit(train, valid, seed=0, progress=False)
    atoms = train.atoms[0]
    loose = [BondLengths(shortest=0.01, longest=50.0)]
    assert surviving(atoms, loose, temperature=1.0, steps=10, replicas=4)(predictor) == 1.0
    tight = [BondLengths(shortest=0.9999, longest=1.0001)]
    assert surviving(atoms, tight, temperature=1000.0, steps=50, replicas=4)(predictor) == 0.0


def test_lifetimes_leave_out_an_uncertainty_that_was_added_to_a_network() -> None:
    """The same forces give the same dynamics; what was left out is not computed."""
    train, valid, _ = start()
    fitted = LastLayer(network=samples.NETWORK, settings=Settings(epochs=3, batch_size=4)).fit(
        train, valid, seed=0, progress=False
    )
    atoms, rules = train.atoms[0], [BondLengths(longest=50.0, shortest=0.01)]
    found = lifetimes(fitted, atoms, rules, temperature=300.0, steps=20, replicas=2)
    same = simulate(
        fitted,
        thermal(atoms, temperature=300.0, replicas=2, seed=0),
        integrator=Langevin(temperature=300.0),
        steps=20,
        seed=0,
        rules=rules,
        every=5,
        progress=False,
    )
    np.testing.assert_allclose(found.frames(1)[-1].positions, same.frames(1)[-1].positions, atol=1e-5)
    assert not found.frames(1)[-1].arrays["force_uncertainty"].any()
    assert same.frames(1)[-1].arrays["force_uncertainty"].all()


def test_stages_offer_geometries_on_the_way() -> None:
    train, valid, _ = start()
    predictor = method().fit(train, valid, seed=0, progress=False)
    loose = {"percentile": 0.0, "rmsd": 0.0, "closest": 0.0, "oversampling": 4, "steps": 8}
    ends, staged = (
        Attacked(stages=stages, **loose).candidates(predictor, train, number=3, seed=0) for stages in (1, 4)
    )
    assert sum(ends.counts.values()) == sum(staged.counts.values()) == 12
    every = Attacked(stages=4, **{**loose, "oversampling": 1}).candidates(predictor, train, number=12, seed=0)
    walks = attack(predictor, drawn(train, 3, 0), train, temperature=1000.0, steps=8, seed=0)
    offered = {k: [path[k].positions.tolist() for path in walks.paths] for k in (1, 2, 4, 6, 8)}
    kept = [atoms.positions.tolist() for atoms in every.structures]
    assert all(place in kept for k in (2, 4, 6, 8) for place in offered[k])
    assert not any(place in kept for place in offered[1])
    with pytest.raises(ValueError, match=r"stages: got 9, expected 1 to the number of steps \(8\)"):
        Attacked(stages=9, **loose)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"generations": 0}, "generations, labels: got 0, 10"),
        ({"labels": 0}, "generations, labels: got 3, 0"),
        ({"valid_share": 1.0}, "valid_share: got 1.0"),
    ],
)
def test_recipes_that_make_no_sense(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ActiveLearning(**{"method": method(), "oracle": Morse(tmp_path), "propose": ATTACK, **change})


def test_a_record_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text('{"number": 1}')
    with pytest.raises(ValueError, match=r"record\.json: not a record of a generation .* delete it"):
        Generation.read(tmp_path / "record.json")


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {tests!r} + "/.."]
import torch
torch.set_num_threads(1)
from test_active_learning import run
print("ready", flush=True)
run(Path({folder!r}))
"""


def test_killed_at_ten_random_moments(tmp_path: Path) -> None:
    """`kill -9`, ten times, each a little later; then to the end. Nothing differs from a run left in peace."""
    started = time.perf_counter()
    undisturbed = run(tmp_path / "a" / "run")
    alone = time.perf_counter() - started
    folder = tmp_path / "b" / "run"
    folder.parent.mkdir()
    command = [sys.executable, "-c", SCRIPT.format(tests=str(TESTS), folder=str(folder))]
    delays, kills = random.Random(0), 0
    while kills < 10:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        ) as p:
            assert p.stdout is not None
            assert p.stdout.readline() == "ready\n"
            time.sleep(delays.uniform(0.02, 0.25) * alone)
            p.send_signal(signal.SIGKILL)
        kills += 1
        if p.returncode == 0:  # it was done before the signal
            break
    assert kills >= 5
    assert same(undisturbed, run(folder))
    asked = Morse(folder.parent / "diary").asked()
    assert len(set(asked)) == 8
    assert len(asked) <= 8 + kills  # a label that was being made when the signal came is made once more
