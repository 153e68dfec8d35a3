"""What a saved model says of itself, in a table and in Python; and files of before, which say less."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase
import pytest
import samples
import test_contract
import torch
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

import uqlib
from uqlib import methods
from uqlib.calibration import Calibrated, Recalibrated, about, calibrate
from uqlib.common import storage
from uqlib.interfaces import CalculatorCommittee
from uqlib.methods import MeanVariance, with_stress
from uqlib.networks.origin import fingerprint, origin
from uqlib.prediction import predict
from uqlib.structures.datasets import Dataset

OLD = Path(__file__).parent / "calibrated_0.1.0.uq"  # a scalar on two networks, as the first files were written


@pytest.mark.parametrize("method", sorted(methods.EVERY))
def test_every_method_remembers_what_it_was_trained_on(method: str, tmp_path: Path) -> None:
    data = samples.dataset()
    train = replace(data["train"], card={"level": "a pair potential"})
    fitted: Any = test_contract.RECIPES[method].fit(train, data["valid"], seed=0, progress=False)
    fitted.save(tmp_path / "mine.uq")
    said = about(fitted)
    assert about(fitted.to(torch.float64)) == replace(said, network=said.network.replace("32", "64"))
    assert about(tmp_path / "mine.uq") == said
    assert (said.training_set, said.structures, said.level) == (train.name, len(train), "a pair potential")
    assert said.fingerprint == fingerprint(train)
    assert said.version == uqlib.__version__
    assert (said.elements, said.cutoff) == ((1, 7, 8), samples.CUTOFF)
    assert said.uncertainty_unit == predict(fitted, data["test"]).unit
    assert said.calibrators == ()

    payload = storage.load(tmp_path / "mine.uq", kind=storage.kind_of(tmp_path / "mine.uq"))
    del payload["trained_on"]  # as files were
    storage.save(tmp_path / "old.uq", payload, kind=storage.kind_of(tmp_path / "mine.uq"))
    older = about(tmp_path / "old.uq")
    assert (older.fingerprint, older.version) == (None, None)
    assert older.elements == said.elements
    batch = samples.batch_of(samples.rattled("NH3", 3), dtype=torch.float32)
    assert test_contract.same(uqlib.load(tmp_path / "old.uq").predict(batch), fitted.predict(batch))


def test_calibrations_are_told_in_their_order(tmp_path: Path) -> None:
    data = samples.dataset()
    recipe = Recalibrated(method=test_contract.RECIPES["gmm"], kind="isotonic")
    once = recipe.fit(data["train"], data["valid"], seed=0, progress=False)
    twice = Calibrated(once, calibrate("scalar", predict(once, data["test"]), data["test"]))
    twice.save(tmp_path / "twice.uq")
    said = about(tmp_path / "twice.uq")
    assert [found.kind for found in said.calibrators] == ["isotonic", "scalar"]
    assert [found.data for found in said.calibrators] == [data["valid"].name, data["test"].name]
    assert said.uncertainty_unit == "eV/Å", "nats no longer"
    assert said.fingerprint == fingerprint(data["train"])
    table = str(said)
    for words in (
        "H N O",
        "4 Å",
        "eV/Å³",
        "scalar, fitted to",
        "isotonic, fitted to",
        str(said.fingerprint),
        "molecules",
    ):
        assert words in table
    assert max(map(len, table.splitlines())) <= 100


def test_a_file_of_before_opens() -> None:
    predictor = uqlib.load(OLD)
    said = about(OLD)
    assert (said.elements, said.cutoff, said.fingerprint, said.version) == ((1, 7, 8), 4.0, None, None)
    assert [(found.kind, found.structures) for found in said.calibrators] == [("scalar", 4)]
    assert str(said).count("not known") == 4
    found = predictor.predict(samples.batch_of(samples.rattled("H2O", 1), dtype=torch.float32))
    assert bool(torch.isfinite(found.force_uncertainty).all())


def test_a_predictor_without_a_network_says_what_it_can() -> None:
    said = about(CalculatorCommittee([EMT(), EMT()]))
    assert said.elements is None
    assert "not known" in str(said)


def test_the_fingerprint_is_of_what_is_learnt() -> None:
    data = samples.dataset({"all": 6})
    order = list(range(6))
    random.Random(1).shuffle(order)
    same = fingerprint(data)
    assert fingerprint(data.take(order)) == same
    assert fingerprint(data.take(order[:5])) != same
    changes: list[Any] = [
        lambda frame: frame.positions.__iadd__(1e-6),
        lambda frame: frame.set_pbc(True),
        lambda frame: frame.calc.results.update(energy=frame.calc.results["energy"] + 1e-6),
        lambda frame: frame.calc.results.pop("forces"),
    ]
    for change in changes:
        frames = [_copy(frame) for frame in data.atoms]
        assert fingerprint(Dataset(name="copy", atoms=tuple(frames))) == same
        change(frames[2])
        assert fingerprint(Dataset(name="copy", atoms=tuple(frames))) != same


def _copy(frame: ase.Atoms) -> ase.Atoms:
    copy = frame.copy()
    assert frame.calc is not None
    copy.calc = SinglePointCalculator(copy, **frame.calc.results)
    return copy


@pytest.mark.parametrize(("key", "values", "expected"), [
    ("level", ["PBE", "PBE"], "PBE"),
    ("level_of_theory", ["B3LYP", "B3LYP"], "B3LYP"),
    ("level", ["PBE", "RPA"], None),
    ("functional", ["PBE", "PBE"], None),
])  # fmt: skip
def test_the_level_is_what_all_structures_say(key: str, values: list[str], expected: str | None) -> None:
    frames = [samples.label(samples.rattled("NH3", seed)) for seed in range(2)]
    for frame, value in zip(frames, values, strict=True):
        frame.info[key] = value
    assert origin(Dataset(name="two", atoms=tuple(frames)))["level"] == expected


def test_what_is_said_of_the_stress() -> None:
    data = samples.with_cells()
    plain: Any = {"network": samples.NETWORK, "settings": samples.BRIEF}
    fit: Any = {"train": data["train"], "valid": data["valid"], "seed": 0, "progress": False}
    without, taught = (recipe.fit(**fit) for recipe in (MeanVariance(**plain), with_stress(MeanVariance(**plain))))
    assert not about(without).stress_uncertainty
    assert "eV of an energy; none of the stress" in " ".join(str(about(without)).split())
    assert "eV of an energy, eV/Å³ of the stress" in " ".join(str(about(taught)).split())
    bare = data["valid"].take([0, 2])
    assert not about(Calibrated(taught, calibrate("scalar", predict(taught, bare), bare))).stress_uncertainty
    assert not about(CalculatorCommittee([EMT(), NoStress()])).stress_uncertainty


class NoStress(EMT):
    implemented_properties = ("energy", "forces")  # pyright: ignore[reportAssignmentType]
