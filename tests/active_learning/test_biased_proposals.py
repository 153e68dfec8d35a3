"""Dynamics that ask for labels: pushed to the uncertain, or stopped there, killed, and gone on with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import samples
import torch

from uqlib.active_learning import ActiveLearning, Displaced, FromBiasedDynamics, FromDynamics, OnTheFly, stops
from uqlib.active_learning.loop import read_candidates
from uqlib.active_learning.proposals import Candidates
from uqlib.calibration import load
from uqlib.methods import LastLayer
from uqlib.networks.training import Settings
from uqlib.oracles import OracleError
from uqlib.prediction import Prediction, Predictor, predict
from uqlib.structures.batch import Batch

METHOD = LastLayer(network=samples.NETWORK, settings=Settings(epochs=3, batch_size=4))
LOOSE: dict[str, Any] = {"rmsd": 0.0, "percentile": 0.0, "closest": 0.01}


@dataclass(frozen=True)
class Morse:
    """A stand-in oracle that cannot do the frames whose turn is in `never`, counted over all that it is asked."""

    diary: Path
    never: tuple[int, ...] = ()

    def label(self, atoms: ase.Atoms) -> ase.Atoms:
        with self.diary.open("a") as file:
            file.write(json.dumps(atoms.positions.tolist()) + "\n")
        if len(self.diary.read_text().splitlines()) in self.never:
            raise OracleError("no idea", atoms)
        return samples.label(atoms)


@dataclass(frozen=True)
class Tethered:
    """Atoms that fly freely, and are the more uncertain the higher they are."""

    cutoff: float = samples.CUTOFF
    dtype: torch.dtype = torch.float64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    known: float = 0.0  # Å, the height up to which it is certain

    def predict(self, batch: Batch) -> Prediction:
        height = batch.positions[:, 2] - self.known
        energy = height.new_zeros(batch.n_structures).index_add(0, batch.structure_of_atom, 0 * height)
        return Prediction(energy=energy, forces=0 * batch.positions, force_uncertainty=height.clamp_min(0.0))


def start() -> Any:
    return samples.dataset(names=("NH3",))


def fly(**changes: Any) -> OnTheFly:
    return OnTheFly(**{"limit": 1e-6, "steps": 60, "replicas": 4, "temperature": 300.0, "unwatched": 5,
                       "closest": 0.01, "rmsd": 0.0, **changes})  # fmt: skip


def learn(folder: Path, propose: Any, **changes: Any) -> Any:
    data, (labels, generations) = start(), (changes.pop("labels", 2), changes.pop("generations", 2))
    oracle = changes.pop("oracle", Morse(folder.parent / "diary"))
    recipe = ActiveLearning(
        method=METHOD, oracle=oracle, propose=propose, generations=generations, labels=labels, valid_share=0.0
    )
    return recipe.run(data["train"], data["valid"], seed=3, folder=folder, progress=False)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    data = start()
    return METHOD.fit(data["train"], data["valid"], seed=0)


def test_a_bias_finds_what_is_more_uncertain(predictor: Predictor) -> None:
    """Frames at random of the same dynamics, with the push and without, and with a push the other way."""
    options: dict[str, Any] = {"pick": "random", "steps": 60, "trajectories": 6, "temperature": 100.0, **LOOSE}
    data = start()["train"]

    def mean(proposal: FromDynamics) -> float:
        found = proposal.candidates(predictor, data, number=20, seed=1)
        assert found.counts == {"kept": 20}
        energy = predict(predictor, found.structures).energy_uncertainty
        assert energy is not None
        return float(energy.mean())

    size = float(predict(predictor, data).energy_uncertainty.mean())  # pyright: ignore[reportOptionalMemberAccess]
    strength = 2.0 / size
    pushed = mean(FromBiasedDynamics(strength=strength, **options))
    away = mean(FromBiasedDynamics(strength=-strength, **options))
    assert away < mean(FromDynamics(**options)) < pushed


def test_biased_dynamics_drive_a_loop(tmp_path: Path) -> None:
    found = learn(
        tmp_path / "run", FromBiasedDynamics(strength=2.0, steps=20, trajectories=2, of="forces", limit=1.0, **LOOSE)
    )
    assert [generation.labelled for generation in found.generations] == [2, 2, 0]


def test_replicas_stop_above_the_limit_and_go_on_from_there() -> None:
    """With a potential that is certain up to a height: the first to reach it are asked for, and later ones go on."""
    data, flight = start()["train"], fly(limit=0.3, steps=4000, temperature=600.0, rmsd=0.05, unwatched=0)
    first = flight.candidates(Tethered(known=1.0), data, number=3, seed=5, state=None)
    assert first.counts["kept"] == 3
    assert first.state is not None
    for stop, atoms in zip(first.state["stops"], first.structures, strict=True):
        assert atoms.positions[:, 2].max() == pytest.approx(1.3, abs=0.02)
        assert stop["uncertainty"] == pytest.approx(atoms.positions[:, 2].max() - 1.0)
        walker = first.state["replicas"][stop["replica"]]
        assert walker["positions"] == atoms.positions.tolist(), "it waits where it stopped"
        assert walker["step"] * 0.5 == stop["time"]
        assert np.abs(walker["velocities"]).max() > 0
    wiser = Tethered(known=2.0)
    state = json.loads(json.dumps(first.state))
    second = flight.candidates(wiser, data, number=3, seed=6, state=state)
    assert second.state is not None
    for stop in second.state["stops"]:
        before = first.state["replicas"][stop["replica"]]
        assert stop["time"] >= before["step"] * 0.5
    assert {s["replica"] for s in second.state["stops"]}
    assert all(atoms.positions[:, 2].max() > 2.2 for atoms in second.structures)
    again = flight.candidates(wiser, data, number=3, seed=6, state=state)
    assert [a.positions.tolist() for a in again.structures] == [a.positions.tolist() for a in second.structures]


def test_the_end_is_reached_where_nothing_is_uncertain() -> None:
    found = fly(limit=100.0).candidates(Tethered(), start()["train"], number=3, seed=0)
    assert found.counts == {"reached the end": 4}
    assert found.structures == []


def test_impossible_frames_are_no_questions(predictor: Predictor) -> None:
    """Frames known already, or with atoms too close, are counted, and the replica goes on or begins anew."""
    data = start()["train"]
    known = fly(limit=1e-9, rmsd=50.0).candidates(predictor, data, number=2, seed=0)
    assert known.counts["duplicate"] > 4
    assert "kept" not in known.counts
    close = fly(limit=1e-9, closest=5.0).candidates(predictor, data, number=2, seed=0)
    assert close.counts["too close"] > 4
    assert close.counts["reached the end"] == 4, "it ends"


def test_each_stop_is_told(tmp_path: Path) -> None:
    found = learn(tmp_path / "run", fly(), labels=2)
    assert [generation.labelled for generation in found.generations] == [2, 2, 0]
    told = stops(found)
    assert [stop.generation for stop in told] == [0, 0, 1, 1]
    for generation in (0, 1):
        for stop, atoms in zip(told[2 * generation :], found.added[generation], strict=False):
            before, after = (predict(load(found.predictor_path(generation + k)), atoms) for k in (0, 1))
            off = before.forces.double().numpy() - atoms.get_forces()
            assert stop.error == pytest.approx(np.sqrt((off**2).mean(1)).max())
            assert stop.energy_jump == pytest.approx(float(after.energy - before.energy))
            assert stop.uncertainty == pytest.approx(float(before.force_uncertainty.max()))
            assert 0 < stop.time <= 30
            assert "true error" in str(stop)


def test_what_cannot_be_labelled_has_no_error(tmp_path: Path) -> None:
    found = learn(tmp_path / "run", fly(), oracle=Morse(tmp_path / "diary", never=(1,)))
    assert found.generations[0].failed == ("no idea",)
    assert len(stops(found)) == 3


def test_other_runs_have_no_stops(tmp_path: Path) -> None:
    found = learn(tmp_path / "run", Displaced(rmsd=0.0), generations=1)
    with pytest.raises(ValueError, match="expected a run with OnTheFly as its `propose`"):
        stops(found)


def test_killed_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between two generations, the replicas go on from where they stood, and end where they would have."""
    whole = learn(tmp_path / "whole" / "run", fly(), oracle=Morse(tmp_path / "one"))
    original = OnTheFly.candidates

    def until_killed(self: Any, predictor: Any, train: Any, *, state: Any = None, **options: Any) -> Candidates:
        if state is not None:
            raise KeyboardInterrupt
        return original(self, predictor, train, state=state, **options)

    monkeypatch.setattr(OnTheFly, "candidates", until_killed)
    oracle = Morse(tmp_path / "one")
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "half" / "run", fly(), oracle=oracle)
    monkeypatch.undo()
    found = learn(tmp_path / "half" / "run", fly(), oracle=oracle)
    assert found.generations == whole.generations
    assert read_candidates(found.folder, 1).state == read_candidates(whole.folder, 1).state
    assert stops(found) == stops(whole)
    with pytest.raises(ValueError, match="another recipe"):
        learn(tmp_path / "half" / "run", replace(fly(), limit=0.5), oracle=oracle)


@pytest.mark.parametrize("name", ["limit", "temperature", "steps", "timestep", "replicas"])
def test_what_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: got 0, expected more than 0"):
        fly(**{name: 0})
    with pytest.raises(ValueError, match="unwatched: got -1"):
        fly(unwatched=-1)
