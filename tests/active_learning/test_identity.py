"""A run and a label are known by what they are made of: what was made for another question never comes back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import samples
from ase.calculators.singlepoint import SinglePointCalculator

from uqlib.active_learning import ActiveLearning, LabelStore
from uqlib.active_learning.labels import identity
from uqlib.active_learning.loop import _claim, _identity
from uqlib.active_learning.proposals import Candidates
from uqlib.methods import Ensemble
from uqlib.oracles import PySCFOracle, labelled_copy
from uqlib.structures.datasets import Dataset


@dataclass(frozen=True)
class Springs:
    """Every atom on a spring of its own."""

    stiffness: Any
    asked: list[int] = field(default_factory=list, compare=False)

    def label(self, atoms: ase.Atoms) -> ase.Atoms:
        self.asked.append(1)
        k = np.resize(np.asarray(self.stiffness, dtype=float), len(atoms))[:, None]
        return labelled_copy(atoms, energy=float((k * atoms.positions**2).sum() / 2), forces=-k * atoms.positions)


class Plain:
    """An oracle whose `repr` holds its address."""

    def __init__(self, shift: float) -> None:
        self.shift = shift
        self.asked = 0

    def identity(self) -> float:
        return self.shift

    def label(self, atoms: ase.Atoms) -> ase.Atoms:
        self.asked += 1
        return labelled_copy(atoms, energy=self.shift, forces=np.zeros((len(atoms), 3)))


@dataclass(frozen=True)
class Nothing:
    def candidates(self, predictor: Any, train: Dataset, *, number: int, seed: int) -> Candidates:
        return Candidates(structures=[], counts={})


def relabelled(data: Dataset, change: Any) -> Dataset:
    frames = []
    for frame in data.atoms:
        copy = frame.copy()
        energy, forces = change(frame, frame.get_potential_energy(), frame.get_forces())
        copy.calc = SinglePointCalculator(copy, energy=energy, forces=forces)
        frames.append(copy)
    return Dataset(name=data.name, atoms=tuple(frames))


def mirrored(data: Dataset) -> Dataset:
    frames = []
    for frame in data.atoms:
        copy = frame.copy()
        copy.positions[:, 0] *= -1
        forces = frame.get_forces() * [-1, 1, 1]
        copy.calc = SinglePointCalculator(copy, energy=frame.get_potential_energy(), forces=forces)
        frames.append(copy)
    return Dataset(name=data.name, atoms=tuple(frames))


def stressed(data: Dataset) -> Dataset:
    frames = [labelled_copy(f, energy=f.get_potential_energy(), forces=f.get_forces()) for f in data.atoms]
    assert frames[1].calc is not None
    frames[1].calc.results["stress"] = np.zeros(6)
    return Dataset(name=data.name, atoms=tuple(frames))


CHANGES = {
    "forces negated": lambda data: relabelled(data, lambda _, e, f: (e, -f)),
    "two labels exchanged": lambda data: relabelled(data, lambda _, e, f: (e, f[::-1])),
    "one force by 1e-12": lambda data: relabelled(data, lambda _, e, f: (e, f + 1e-12)),
    "mirrored": mirrored,
    "in another order": lambda data: Dataset(name=data.name, atoms=data.atoms[::-1]),
    "with a stress": stressed,
    "with energies of atoms": lambda data: replace(data, E0={"H": -13.6}),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("which", ["train", "valid"])
def test_other_data_are_another_run(tmp_path: Path, change: str, which: str) -> None:
    data = samples.dataset({"train": 4, "valid": 4}, names=("NH3", "H2O"))
    parts = {"train": data["train"], "valid": data["valid"]}
    learning = ActiveLearning(method=Ensemble(members=2), oracle=Springs(1.0), propose=Nothing())
    _claim(tmp_path, _identity(learning, 3, **parts))
    _claim(tmp_path, _identity(learning, 3, **parts))
    parts[which] = CHANGES[change](parts[which])
    with pytest.raises(ValueError, match=f"holds a run with another {which}; give this one a folder of its own"):
        _claim(tmp_path, _identity(learning, 3, **parts))


@pytest.mark.parametrize("content", ["{", '{"seed": 3}', "[]", '{"recipe": "words", "seed": 0}', "\xff"])
def test_a_record_of_a_run_that_says_too_little(tmp_path: Path, content: str) -> None:
    data = samples.dataset({"train": 2, "valid": 2})
    (tmp_path / "run.json").write_text(content, encoding="latin-1")
    learning = ActiveLearning(method=Ensemble(members=2), oracle=Springs(1.0), propose=Nothing())
    with pytest.raises(ValueError, match=r"run\.json.* folder of its own"):
        _claim(tmp_path, _identity(learning, 3, data["train"], data["valid"]))


def test_an_oracle_with_a_long_array_is_known_by_all_of_it(tmp_path: Path) -> None:
    stiffness = np.linspace(1, 2, 5000)
    other = stiffness.copy()
    other[2500] += 1e-9  # hidden by the dots of its `repr`
    frame = ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.9]])
    assert identity(Springs(stiffness)) == identity(Springs(stiffness.copy()))
    stores = [LabelStore(tmp_path, Springs(k)) for k in (stiffness, other, stiffness.copy())]
    for store in stores:
        store.label([frame], progress=False)
    assert [sum(store.oracle.asked) for store in stores] == [1, 1, 0]  # pyright: ignore[reportAttributeAccessIssue]


def test_an_oracle_with_an_address_is_paid_for_once(tmp_path: Path) -> None:
    frame = ase.Atoms("He")
    oracles = Plain(1.0), Plain(1.0), Plain(2.0)
    energies = [
        LabelStore(tmp_path, oracle).label([frame], progress=False)[0].atoms.get_potential_energy()  # pyright: ignore[reportOptionalMemberAccess]
        for oracle in oracles
    ]
    assert energies == [1.0, 1.0, 2.0]
    assert [oracle.asked for oracle in oracles] == [1, 0, 1]


def test_an_oracle_of_another_source_is_another() -> None:
    sources = ("return 1", "return 2", "return 1")
    made = []
    for source in sources:
        names: dict[str, Any] = {"__name__": "mine"}
        exec(f"class Own:\n    def label(self, atoms):\n        {source}\n", names)
        made.append(identity(names["Own"]()))
    assert made[0] == made[2] != made[1]


def test_an_oracle_without_an_identity_is_refused(tmp_path: Path) -> None:
    with (
        (tmp_path / "log").open("w") as file,
        pytest.raises(ValueError, match=r"oracle: a .* no stable identity"),
    ):
        identity(Springs(file))


def test_our_own_oracles_are_named_in_words_as_in_the_files_that_there_are() -> None:
    oracle = PySCFOracle(level="pbe/def2-svp")
    assert identity(oracle) == f"{oracle!r} {oracle.version}"

    @dataclass(frozen=True, kw_only=True)
    class Mine(PySCFOracle):
        pass

    assert "grid_level" not in identity(Mine(level="pbe/def2-svp"))


SPOILT = {
    "an energy": lambda plain: plain.update(energy=plain["energy"] + 0.001),
    "a force": lambda plain: plain["forces"][1].reverse(),
    "NaN": lambda plain: plain.update(energy=float("nan")),
    "a word": lambda plain: plain.update(energy="low"),
    "a missing entry": lambda plain: plain.pop("stress"),
    "another place": lambda plain: plain["positions"][1].__setitem__(2, 0.91),
    "another oracle": lambda plain: plain.update(oracle="Springs(2)"),
    "too many forces": lambda plain: plain["forces"].append([0.0, 0.0, 0.0]),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_label_that_was_changed_is_named(tmp_path: Path, what: str) -> None:
    store = LabelStore(tmp_path, Springs(1.5))
    frame = ase.Atoms("OH", positions=[[0, 0.1, 0], [0, 0.2, 0.9]])
    store.label([frame], progress=False)
    (path,) = tmp_path.glob("*.json")
    plain = json.loads(path.read_text())
    SPOILT[what](plain)
    path.write_text(json.dumps(plain))
    with pytest.raises(ValueError, match=rf"{path.name}: .*; delete it, and the label is asked for again"):
        store.label([frame], progress=False)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", '{"energy": 1e999, "forces": null, "stress": null}'])
def test_a_label_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    store = LabelStore(tmp_path, Springs(1.5))
    frame = ase.Atoms("He")
    store.label([frame], progress=False)
    (path,) = tmp_path.glob("*.json")
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"{path.name}: .*; delete it"):
        store.label([frame], progress=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_label_that_is_not_finite_is_not_kept(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="oracle: gave a label that is not finite"):
        LabelStore(tmp_path, Plain(value)).label([ase.Atoms("He")], progress=False)
    assert not list(tmp_path.glob("*.json"))


class Recording:
    """A method that writes down the seeds and devices that it is fitted with."""

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def identity(self) -> str:
        return "recording"

    def fit(self, train: Dataset, valid: Dataset, *, seed: int) -> Any:
        self.seeds.append(seed)
        recipe = Ensemble(members=2, network=samples.NETWORK, settings=samples.BRIEF)
        return recipe.fit(train, valid, seed=seed, progress=False)


@dataclass(frozen=True)
class Shaken:
    """Proposes a structure a generation, and writes down the seeds."""

    seeds: list[int] = field(default_factory=list, compare=False)

    def candidates(self, predictor: Any, train: Dataset, *, number: int, seed: int) -> Candidates:
        self.seeds.append(seed)
        return Candidates(structures=[samples.rattled("NH3", seed % 1000)], counts={"kept": 1})


@pytest.mark.parametrize("seed", [0, 5])
def test_each_generation_is_trained_and_proposed_from_a_seed_of_its_own(tmp_path: Path, seed: int) -> None:
    data = samples.dataset({"train": 4, "valid": 3}, names=("NH3",))
    method, propose = Recording(), Shaken()
    ActiveLearning(method=method, oracle=Springs(1.0), propose=propose, generations=3, labels=1).run(
        data["train"], data["valid"], seed=seed, folder=tmp_path, progress=False
    )
    assert len(set(method.seeds)) == 4
    assert len(set(propose.seeds)) == 3
    assert not set(method.seeds) & set(propose.seeds)
