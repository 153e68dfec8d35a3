"""The study's configuration: read, cut into units, identified; and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from uqlib import methods
from uqlib.structures import datasets
from uqlib.study import REGIMES, SCALES, Grid, load_grid
from uqlib.study.cells import digest
from uqlib.study.grid import FEWEST, SHARED, data_digest, group_of

TEXT = """
methods = ["ensemble", "mve", "gmm"]
seeds = [0, 1]
recalibration = "affine"
resplit = false
[network]
features = 8
[systems.small]
data = "ammonia"
network = { cutoff = 4.0 }
training = { epochs = 3 }
regimes = { in-domain = ["test"], near = ["path"] }
"""


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    (tmp_path / "mine.toml").write_text(TEXT)
    return load_grid(tmp_path / "mine.toml")


@pytest.mark.parametrize("scale", SCALES)
def test_the_grids_that_come_with_the_library(scale: str) -> None:
    grid = load_grid(scale)
    assert set(grid.methods) == set(methods.METHODS)
    assert len(grid.seeds) >= 5
    assert {"ammonia", "ethanol", "silica"} == set(grid.systems)
    for system in grid.systems.values():
        data = system.load()
        scored = system.scored(data)
        assert set(scored.values()) <= set(REGIMES)
        assert scored["test"] == "in-domain"
        assert all(len(data.splits[split]) >= FEWEST for split in scored)


def test_paper_scale_is_the_larger_one() -> None:
    teaching, paper = load_grid("teaching"), load_grid("paper")
    assert paper.network["features"] == 128
    assert paper.resplit
    for name, system in paper.systems.items():
        assert system.training.epochs > teaching.systems[name].training.epochs


def test_units(grid: Grid) -> None:
    assert [str(unit) for unit in grid.units()] == [
        "small, seed 0: ensemble, gmm",
        "small, seed 0: mve",
        "small, seed 1: ensemble, gmm",
        "small, seed 1: mve",
    ]
    assert [str(unit) for unit in grid.units(["small/1/*m*"])] == ["small, seed 1: ensemble, gmm", "small, seed 1: mve"]
    assert [str(unit) for unit in grid.units(["*/gmm", "*/0/mve"])] == [
        "small, seed 0: mve",
        "small, seed 0: gmm",
        "small, seed 1: gmm",
    ]
    with pytest.raises(ValueError, match="'large/\\*' matches no cell system/seed/method, for example small/0/"):
        grid.units(["small/*", "large/*"])


def test_every_method_has_a_group() -> None:
    alone = {"mve", "evidential", "bootstrap", "dropout", "snapshot"}
    assert {method for method in methods.METHODS if group_of(method) == method} == alone
    assert {group_of(method) for method in set(methods.METHODS) - alone} == {SHARED}


def test_identity_is_what_decides(grid: Grid) -> None:
    before = digest(grid.identity("small", "mve", 0))
    assert digest(grid.identity("small", "mve", 0)) == before
    small = grid.systems["small"]
    longer = dataclasses.replace(small, training=dataclasses.replace(small.training, epochs=4))
    others = (
        dataclasses.replace(grid, systems={"small": longer}),
        dataclasses.replace(grid, recalibration="isotonic"),
        dataclasses.replace(grid, network={"features": 9}),
        dataclasses.replace(grid, resplit=True),
    )
    assert len({before, *(digest(other.identity("small", "mve", 0)) for other in others)}) == 5
    more_seeds = dataclasses.replace(grid, seeds=(0, 1, 2), methods=("mve",))
    assert digest(more_seeds.identity("small", "mve", 0)) == before, "what is not part of a cell leaves it fresh"
    assert grid.network_of("small") == {"features": 8, "cutoff": 4.0}


def test_data_digest_knows_splits_and_labels() -> None:
    data = datasets.load("ammonia")
    before = data_digest(data, ["test"])
    assert data_digest(data, ["test", "train"]) == before
    assert data_digest(data, ["test", "path"]) != before
    shorter = {**data.splits, "test": data.splits["test"][:-1]}
    assert data_digest(dataclasses.replace(data, splits=shorter), ["test"]) != before


def test_resplit_draws_anew_out_of_the_same(grid: Grid) -> None:
    system = grid.systems["small"]
    data, first, second = (system.load(seed=seed) for seed in (None, 0, 1))
    for drawn in (first, second):
        assert drawn.splits["path"] == data.splits["path"]
        pools = [{i for split in ("train", "valid", "test") for i in d.splits[split]} for d in (data, drawn)]
        assert pools[0] == pools[1]
        assert [len(drawn.splits[s]) for s in ("train", "valid", "test")] == [80, 20, 100]
    assert first.splits["train"] != second.splits["train"]
    assert system.load(seed=0).splits == first.splits


def test_small_splits_are_not_scored(grid: Grid) -> None:
    data = datasets.load("ammonia")
    few = dataclasses.replace(data, splits={**data.splits, "path": data.splits["path"][: FEWEST - 1]})
    assert grid.systems["small"].scored(few) == {"test": "in-domain"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"mve"', '"magic"', r"methods: got \['magic'\]"),
        ("affine", "magic", "recalibration: got 'magic'"),
        ("near =", "nearby =", r"systems.small.regimes: got \['nearby'\]"),
        ("seeds = [0, 1]", "", "has no entry 'seeds'"),
        ("epochs = 3", "epoch = 3", "unexpected keyword argument 'epoch'"),
        ("epochs = 3", "epochs = -3", "epochs: got -3"),
        ("[0, 1]", "[0, 1", "mine.toml"),
        ("[0, 1]", "[]", "each needs at least one entry"),
        ('{ in-domain = ["test"], near = ["path"] }', "{}", "names no split"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in TEXT
    (tmp_path / "mine.toml").write_text(TEXT.replace(old, new))
    with pytest.raises(ValueError, match=words):
        load_grid(tmp_path / "mine.toml")


def test_other_mistakes(grid: Grid, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"scale: got 'huge', expected one of paper, teaching, or a \.toml file"):
        load_grid("huge")
    missing = dataclasses.replace(grid.systems["small"], regimes={"far": ("moon",)})
    with pytest.raises(ValueError, match=r"'ammonia' has the splits .*, not \['moon'\]"):
        missing.load()
