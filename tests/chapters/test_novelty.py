"""The novelty beside an uncertainty: exact answers for predictors whose errors and uncertainties are made up."""

import math
from dataclasses import dataclass, field

import ase
import numpy as np
import pytest
import torch

from uqlib.chapters.novelty import against_novelty, independent
from uqlib.prediction import Prediction
from uqlib.structures import datasets, descriptors
from uqlib.structures.batch import Batch

DATA = datasets.load("ammonia")
KNOWN = descriptors.inverse_distances(DATA["train"].atoms)
LABELLED = DATA.batch()


def novelty_of(batch: Batch) -> torch.Tensor:
    """(S,) 1/Å, from the positions alone."""
    molecules = zip(batch.atomic_numbers.split(4), batch.positions.split(4), strict=True)
    frames = [ase.Atoms(numbers.numpy(), positions.double().numpy()) for numbers, positions in molecules]
    return torch.as_tensor(descriptors.novelty(descriptors.inverse_distances(frames), KNOWN))


@dataclass(frozen=True)
class MadeUp:
    """Wrong by its novelty in every component; its uncertainty is the error times `factor`, or a constant less it."""

    factor: float
    cutoff: float = 5.0
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def predict(self, batch: Batch) -> Prediction:
        assert LABELLED.energy is not None
        assert LABELLED.forces is not None
        # Nobody shows a predictor the labels: it finds the same molecule among all that are known.
        places = batch.positions.view(-1, 12), LABELLED.positions.view(-1, 12)
        same = torch.cdist(*places, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
        wrong = novelty_of(batch).repeat_interleave(4)
        return Prediction(
            energy=LABELLED.energy[same],
            forces=LABELLED.forces.view(-1, 4, 3)[same].flatten(0, 1).double() + wrong[:, None],
            force_uncertainty=self.factor * wrong if self.factor > 0 else 10.0 + self.factor * wrong,
        )


@pytest.fixture(scope="module")
def found():
    return against_novelty({"same": MadeUp(2.0), "reversed": MadeUp(-1.0)}, DATA, splits=["test"], resamples=20)


def test_an_uncertainty_that_is_the_novelty_gains_nothing(found):
    same = found["same", "test"]
    assert (same.rank, same.rank_of_novelty) == (pytest.approx(1.0), pytest.approx(1.0))
    assert (same.detection, same.detection_of_novelty) == (1.0, 1.0)
    assert (same.rank_gain.value, same.rank_gain.standard_error) == (pytest.approx(0.0), pytest.approx(0.0))
    size = descriptors.novelty(descriptors.inverse_distances(DATA["test"].atoms), KNOWN)
    assert same.error == pytest.approx(1000 * np.sqrt((size**2).mean()), rel=1e-4)


def test_one_that_is_wrong_about_everything_loses_all(found):
    wrong = found["reversed", "test"]
    assert (wrong.rank, wrong.rank_gain.value) == (pytest.approx(-1.0), pytest.approx(-2.0))
    assert (wrong.detection, wrong.detection_gain.value) == (0.0, -1.0)
    assert wrong.detection_of_novelty == 1.0


def test_the_table_has_a_row_for_each_method_and_split(found):
    _, rule, *lines = repr(found).splitlines()
    assert set(rule) == {"-", " "}
    assert len(lines) == 2
    assert lines[0].split()[:2] == ["test", "same"]
    assert "-2.00 ± 0.00" in lines[1]
    assert "<table" in found._repr_html_()


def test_where_large_errors_are_too_few_the_gain_has_no_error_bar():
    few = DATA["path"].take(range(12, 22), name="few")  # ten points of the path: one is the worst tenth
    splits = {"train": tuple(range(80)), "few": tuple(range(80, 90))}
    data = datasets.Dataset(name="small", atoms=DATA["train"].atoms + few.atoms, splits=splits)
    gain = against_novelty({"same": MadeUp(2.0)}, data, splits=["few"], resamples=20)["same", "few"].detection_gain
    assert gain.value == 0.0
    assert math.isnan(gain.standard_error)


def test_mirror_images_and_trajectories_stay_together():
    grid, hot = independent(DATA["grid"]), independent(DATA["hot"])
    height = np.abs(DATA["grid"].info("umbrella")).round(4)
    same_height = height[:, None] == height[None]
    assert ((grid[:, None] == grid[None]).numpy() == same_height).all()  # a column of the grid and its mirror image
    assert len(hot.unique()) == len(set(DATA["hot"].groups))
    assert len(independent(DATA["path"]).unique()) == 21  # 41 points, the saddle its own mirror image


def test_a_split_that_is_not_there_is_named():
    with pytest.raises(KeyError, match="sideways"):
        against_novelty({"same": MadeUp(2.0)}, DATA, splits=["sideways"])
