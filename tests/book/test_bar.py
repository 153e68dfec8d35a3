"""The bar that novelty sets: exact answers for errors that are made up."""

import numpy as np
import pytest
import torch

from uqlib.chapters.bar import Bar, novelty_alone
from uqlib.chapters.baseline import SplitErrors
from uqlib.structures import datasets

MOLECULES, GLASS = datasets.load("ammonia"), datasets.load("silica")


def wrong_by(errors: np.ndarray) -> SplitErrors:
    """What a network made of structures that it gets wrong by so many eV/Å in every component."""
    some = torch.as_tensor(errors)
    return SplitErrors(
        structures=len(some),
        energy_error=some,
        atom_error=some,
        structure_error=some,
        energy=None,
        force=None,
        force_size=1.0,
        grouped=True,
    )


def score(data: datasets.Dataset, split: str, novelty: np.ndarray, errors: np.ndarray) -> Bar:
    return novelty_alone(data, {split: wrong_by(errors)}, {split: novelty}, splits=[split])


def test_errors_in_the_order_of_the_novelty_are_ranked_and_found():
    novelty = np.random.default_rng(0).random(100)
    found = score(MOLECULES, "test", novelty, novelty**2)["test"]
    assert (found.rank.value, found.find) == (pytest.approx(1.0), 1.0)
    assert found.error == pytest.approx(1000 * np.sqrt((novelty**4).mean()))


def test_errors_in_the_opposite_order_are_missed():
    novelty = np.random.default_rng(0).random(100)
    found = score(MOLECULES, "test", novelty, 1 - novelty)["test"]
    assert (found.rank.value, found.find) == (pytest.approx(-1.0), 0.0)


def test_correlated_frames_are_resampled_together():
    """Two runs, of which the novelty knows the worse one and nothing else: one run alone has no rank to find."""
    run = np.unique(GLASS["melt"].groups, return_inverse=True)[1]
    noise = 0.1 * np.random.default_rng(0).random((2, len(run)))
    rank = score(GLASS, "melt", run + noise[0], run + noise[1])["melt"].rank
    assert run.max() == 1
    assert rank.value > 0.6
    assert rank.standard_error > 0.25  # frame by frame it would be 0.1


def test_the_table_has_a_row_for_each_split():
    novelty = {name: np.arange(len(MOLECULES[name]), dtype=float) for name in ("test", "hot")}
    errors = {name: wrong_by(1 + values) for name, values in novelty.items()}
    bar = novelty_alone(MOLECULES, errors, novelty, splits=["hot", "test"])
    lines = repr(bar).splitlines()
    assert [line.split()[0] for line in lines] == ["split", "-----", "hot", "test"]
    assert "1.00" in lines[2]
    assert "<table" in bar._repr_html_()


def test_a_split_that_is_not_there_is_named():
    with pytest.raises(KeyError, match="sideways"):
        novelty_alone(MOLECULES, {}, {}, splits=["sideways"])
