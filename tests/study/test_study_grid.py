"""The study's configuration: read, cut into units, identified; and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from uqlib import methods
from uqlib.structures import datasets
from uqlib.study import REGIMES, SCALES, Grid, contests, load_grid
from uqlib.study.cells import digest
from uqlib.study.drawing import complete
from uqlib.study.grid import FEWEST, SHARED, Variant, data_digest, group_of

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
    assert len(grid.seeds) >= 5
    assert set(contests.PAPER) <= set(grid.methods)
    if scale in ("teaching", "paper", "fair"):
        assert set(grid.methods) == {*methods.METHODS, *grid.variants}
        assert {"ammonia", "ethanol", "silica"} == set(grid.systems)
    if scale in ("growing", "rmd17", "fair"):
        assert grid.resplit
        assert grid.calibration > 0
    for system in grid.systems.values():
        if system.source == "published":
            continue  # fetched from elsewhere
        data = grid.load(system.name, 0)
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


def test_what_recalibrates_is_set_aside(grid: Grid) -> None:
    fair = dataclasses.replace(grid, calibration=0.3)
    plain, drawn = grid.load("small", 0), fair.load("small", 0)
    held, test = (set(drawn.splits[split]) for split in ("calibration", "test"))
    assert held | test == set(plain.splits["test"])
    assert not held & test
    assert len(held) == 30
    assert (drawn.splits["train"], drawn.splits["valid"]) == (plain.splits["train"], plain.splits["valid"])
    assert data_digest(drawn, ["test", "calibration"]) != data_digest(drawn, ["test"])
    anew = dataclasses.replace(fair, resplit=True)
    assert anew.load("small", 0).splits["calibration"] != anew.load("small", 1).splits["calibration"]


@pytest.mark.parametrize("system", ["ammonia", "ethanol", "silica"])
def test_every_system_can_be_drawn_anew_in_parts(system: str) -> None:
    grid = load_grid("growing")
    whole, quarter = (grid.load(f"{system}-32-{size}", 3) for size in ("whole", "quarter"))
    assert 0.1 < len(quarter.splits["train"]) / len(whole.splits["train"]) <= 0.3
    assert len(quarter.splits["valid"]) == len(whole.splits["valid"])
    for data in (whole, quarter):
        parts = [set(data.splits[split]) for split in ("train", "valid", "test", "calibration")]
        assert sum(map(len, parts)) == len(set().union(*parts))
        assert all(parts)


def test_a_variant_is_a_longer_or_a_wider_network(grid: Grid) -> None:
    variants = {"longer": Variant(method="gmm", epochs=5), "wider": Variant(method="gmm", network={"features": 18})}
    more = dataclasses.replace(grid, variants=variants, methods=(*grid.methods, *variants))
    assert more.training_of("small", "longer").epochs == 5 * more.training_of("small", "gmm").epochs
    assert more.network_of("small", "wider") == {"features": 18, "cutoff": 4.0}
    assert more.recipe_of("wider") == methods.METHODS["gmm"]
    assert {str(unit) for unit in more.units(["*/0/longer", "*/0/wider"])} == {
        "small, seed 0: longer",
        "small, seed 0: wider",
    }
    assert more.identity("small", "mve", 0) == grid.identity("small", "mve", 0), "older cells stay fresh"
    assert more.identity("small", "longer", 0)["variant_of"] == "gmm"


def test_new_entries_are_read(tmp_path: Path) -> None:
    text = TEXT.replace('"gmm"]', '"gmm", "longer"]').replace("resplit = false", "resplit = true\ncalibration = 0.25")
    text = text.replace('data = "ammonia"', 'data = "ammonia"\nshare = 0.5')
    (tmp_path / "more.toml").write_text(f'{text}[variants.longer]\nmethod = "llpr"\nepochs = 3\n')
    grid = load_grid(tmp_path / "more.toml")
    assert grid.variants["longer"].epochs == 3
    assert (grid.calibration, grid.systems["small"].share) == (0.25, 0.5)
    assert grid.identity("small", "mve", 0)["share"] == 0.5
    assert [len(grid.load("small", 0).splits[s]) for s in ("train", "valid", "test", "calibration")] == [40, 20, 75, 25]


def test_published_sets_get_the_splits_they_lack() -> None:
    data = datasets.load("ammonia")
    bare = dataclasses.replace(data, splits={"train": data.splits["train"]})
    found = complete(bare)
    parts = [set(found.splits[split]) for split in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [64, 8, 8]
    assert set().union(*parts) == set(data.splits["train"])
    assert complete(data).splits == data.splits


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
        (
            "epochs = 3",
            "epoch = 3",
            "systems.small.training: got the entry 'epoch', expected some of averaging, batch_size, clip, epochs,",
        ),
        ("epochs = 3", "epochs = -3", "epochs: got -3"),
        ("[0, 1]", "[0, 1", "mine.toml"),
        ("[0, 1]", "[]", "each needs at least one entry"),
        ('{ in-domain = ["test"], near = ["path"] }', "{}", "names no split"),
        ("resplit = false", "resplit = false\ncalibration = 1.5", "calibration: got 1.5, expected a share"),
        ('data = "ammonia"', 'data = "ammonia"\nshare = 0', "systems.small.share: got 0"),
        ('data = "ammonia"', 'data = "ammonia"\nshare = 0.5', "a share is drawn with the seed, so it needs resplit"),
        ("[network]", '[variants.mve]\nmethod = "mve"\n[network]', r"variants: \['mve'\] are names of methods"),
        ("[network]", '[variants.x]\nmethod = "magic"\n[network]', "variants: method is 'magic'"),
        ("[network]", '[variants.x]\nmethod = "mve"\nepochs = 0\n[network]', "variants: epochs is 0"),
        ("resplit = false", 'resplit = "false"', "resplit: got 'false', expected a valid boolean"),
        ("resplit = false", "resplit = 0", "resplit: got 0, expected a valid boolean"),
        ("[0, 1]", "[0, 0, 0]", "seeds: got 0 twice, expected each once"),
        ("[0, 1]", "[1, 0, 1]", "seeds: got 1 twice"),
        ("[0, 1]", "[0, -1]", "seeds.1: got -1, expected greater than or equal to 0"),
        ("[0, 1]", "[0, 1.0]", "seeds.1: got 1.0, expected a valid integer"),
        ("[0, 1]", "[0, true]", "seeds.1: got True, expected a valid integer"),
        ("[0, 1]", "3", "seeds: got 3, expected a valid tuple"),
        ('"mve"', '"gmm"', "methods: got 'gmm' twice"),
        ("systems.small", 'systems."../../evil"', r"systems\.\.\./\.\./evil"),
        ("systems.small", 'systems."/evil"', r"systems\./evil"),
        ("systems.small", 'systems.".."', r"systems\.\.\."),
        ("systems.small", 'systems."a b/c"', r"systems\.a b/c"),
        ("systems.small", 'systems.""', r"systems\."),
        ("systems.small", "systems.checkpoints", "'checkpoints', which is that of a folder of ours"),
        ("systems.small", "systems.Checkpoints", "'Checkpoints', which is that of a folder of ours"),
        ('["test"]', '["train"]', "systems.small.regimes: got 'train', which is learnt from"),
        ('["path"]', '["path", "valid"]', "systems.small.regimes: got 'valid', which is learnt from"),
        ('["path"]', '["test"]', "systems.small.regimes: got 'test' twice"),
        ("epochs = 3", "epochs = 1.5", "systems.small.training.epochs: got 1.5, expected a valid integer"),
        ("epochs = 3", "epochs = true", "systems.small.training.epochs: got True"),
        ("epochs = 3", "learning_rate = nan", "learning_rate: got nan, expected a finite number"),
        ("features = 8", 'features = "8"', "network.features: got '8', expected a valid integer"),
        ("features = 8", "feature = 8", "network: got the entry 'feature', expected some of .*cutoff.*features"),
        ("features = 8", "features = 0", "network: features"),
        ("cutoff = 4.0", "cutof = 4.0", "systems.small.network: got the entry 'cutof'"),
        ("cutoff = 4.0", 'cutoff = "4"', "systems.small.network.cutoff: got '4', expected a valid number"),
        ("affine", 'affine"\nscale = "big', "the file: got the entry 'scale', expected some of data|the file: got"),
        ('data = "ammonia"', "data = 3", "systems.small.data: got 3, expected a valid string"),
        ('data = "ammonia"', "", "systems.small: has no entry 'data'"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in TEXT
    (tmp_path / "mine.toml").write_text(TEXT.replace(old, new))
    with pytest.raises(ValueError, match=words):
        load_grid(tmp_path / "mine.toml")


def test_other_mistakes(grid: Grid, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"scale: got 'huge', expected one of fair, .* or a \.toml file"):
        load_grid("huge")
    missing = dataclasses.replace(grid.systems["small"], regimes={"far": ("moon",)})
    with pytest.raises(ValueError, match=r"'ammonia' has the splits .*, not \['moon'\]"):
        missing.load()
