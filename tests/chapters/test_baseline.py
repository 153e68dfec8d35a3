"""Errors of one network, split by split, against numbers computed by hand from its predictions."""

import numpy as np
import pytest
import torch

from uqlib.chapters import baseline
from uqlib.networks.evaluation import evaluate
from uqlib.networks.painn import PaiNN
from uqlib.structures import datasets

DATA = datasets.load("ammonia")
MODEL = PaiNN(elements=DATA.elements, features=4, interactions=1, seed=0)


@pytest.fixture(scope="module")
def errors() -> dict[str, baseline.SplitErrors]:
    return baseline.split_errors(MODEL, DATA, splits=["valid", "path"], batch_size=7)


def test_errors_are_those_of_the_predictions(errors):
    found, batch = errors["valid"], DATA["valid"].batch()
    said = evaluate(MODEL, batch)
    assert batch.energy is not None
    assert batch.forces is not None
    off = (said.energy - batch.energy) / 4
    wrong = (said.forces - batch.forces).double()
    assert found.structures == 20
    torch.testing.assert_close(found.energy_error, off, atol=1e-4, rtol=0)
    assert found.energy.value == pytest.approx(1000 * float(off.abs().mean()), rel=1e-5)
    assert found.force.value == pytest.approx(1000 * float(wrong.abs().mean()), rel=1e-4)
    assert found.force_size == pytest.approx(1000 * np.abs(DATA["valid"].forces).mean())
    rms = wrong.reshape(20, 12).square().mean(dim=1).sqrt()
    torch.testing.assert_close(found.structure_error, rms, atol=1e-4, rtol=0)


def test_one_path_is_told_from_independent_structures(errors):
    assert errors["valid"].grouped
    assert not errors["path"].grouped
    text = baseline.table(errors)
    assert "path *" in text
    assert "too small" in text
    assert "valid *" not in text
    assert str(errors["valid"].force) in text


def test_a_split_with_one_structure_has_errors_without_error_bars():
    one = datasets.Dataset(name="one", atoms=DATA.atoms[:1], splits={"only": (0,)})
    found = baseline.split_errors(MODEL, one)
    assert found["only"].force is None
    assert "–" in baseline.table(found)
    assert "nan" not in baseline.table(found)


def test_a_split_that_is_not_there_is_named():
    with pytest.raises(KeyError, match="sideways"):
        baseline.split_errors(MODEL, DATA, splits=["sideways"])


def test_origins_say_split_and_source_once():
    data = datasets.Dataset(name="two", atoms=DATA.atoms[:2], splits={"odd": (1,)})
    assert baseline.origins(data) == ["normal-modes", "odd, normal-modes"]
    path = DATA["path"]
    again = datasets.Dataset(name="path", atoms=path.atoms, splits={"path": tuple(range(len(path)))})
    assert baseline.origins(again)[0] == "path"


def test_intervals_leave_out_splits_without_an_error_bar(errors):
    one = datasets.Dataset(name="one", atoms=DATA.atoms[:1], splits={"only": (0,)})
    found = baseline.intervals({**errors, **baseline.split_errors(MODEL, one)})
    assert list(found) == ["valid", "path"]
    value, low, high = found["valid"]
    assert low < value < high
