"""The campaign: loops that are killed go on, cells are kept or stale, labels are shared, failures are counted."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import ase
import numpy as np
import pretended
import pytest
import samples
import torch
from ase.calculators.calculator import Calculator

from uqlib.__main__ import main
from uqlib.active_learning import Attacked, Displaced, FromBiasedDynamics, FromDynamics, OnTheFly
from uqlib.dynamics import BondLengths
from uqlib.loops import Driver, Grid, System, do_unit, load_grid, run, running
from uqlib.loops.barrier import band_of, climb, path_height
from uqlib.loops.packing import pack, unpack
from uqlib.loops.reading import DEFAULT
from uqlib.loops.rules import AllDistances, Witness
from uqlib.loops.settings import Barrier, Sample, Start, Survival, Watched, Where
from uqlib.loops.shelf import Shelved
from uqlib.methods import LastLayer
from uqlib.methods.gmm import GaussianMixture
from uqlib.networks import training
from uqlib.networks.training import Settings
from uqlib.oracles import OracleError
from uqlib.structures import datasets
from uqlib.study.cells import Done, StudyError

QUIET: dict[str, Any] = {"progress": False}
VOLATILE = {"seconds", "wall_s", "peak_mb", "made", "hardware", "command", "training_s"}


@dataclass(frozen=True)
class Morse:
    """A fast oracle that writes down what it is asked, and cannot do what is wider than `reach` Å."""

    diary: str
    reach: float = 10.0

    def label(self, atoms: ase.Atoms) -> ase.Atoms:
        with Path(self.diary).open("a") as file:
            file.write(json.dumps(atoms.positions.tolist()) + "\n")
        if atoms.get_all_distances().max() > self.reach:
            raise OracleError("too wide", atoms)
        return samples.label(atoms)

    def asked(self) -> list[str]:
        return Path(self.diary).read_text().splitlines() if Path(self.diary).exists() else []


def grid(folder: Path, **changes: Any) -> Grid:
    """Two loops of three labels a generation, on ammonia's geometries with the labels of a pair potential."""
    brief = Watched(temperatures=(300.0,), steps=20)
    system = System(
        name="small",
        data="ammonia",
        oracle=Morse(str(folder / "asked")),
        seeds=(0,),
        generations=2,
        labels=3,
        first=2,
        start=Start(train=Sample(number=6, among=10), valid=Sample(number=4, among=4)),
        network={"features": 8, "interactions": 1},
        training=Settings(epochs=2, batch_size=4),
        proposals={
            "attack": Attacked(steps=2, oversampling=3, percentile=0.0, rmsd=0.0),
            "displacement": Displaced(scale=0.05),
            "dynamics": FromDynamics(steps=20, trajectories=2, rmsd=0.0, percentile=0.0),
        },
        judged={"test": 10, "path": 0},
        survival=Survival(
            rest=Where(split="path"),
            ends=brief,
            between=brief,
            learners=brief,
            rules={"book": (BondLengths(),), "study": (AllDistances(shortest=0.7, longest=2.25),)},
            replicas=3,
        ),
        barrier=Barrier(split="path", images=3, steps=2),
    )
    drivers = {
        "llpr": Driver(name="llpr", method="llpr", proposal="attack"),
        "gmm": Driver(name="gmm", method="gmm", proposal="attack", recalibration="affine"),
        "dynamics": Driver(name="dynamics", method="llpr", proposal="dynamics", proposal_options={"pick": "random"}),
        "pool": Driver(name="pool", method="llpr", proposal="pool"),
    }
    system = dataclasses.replace(system, **{k: v for k, v in changes.items() if k != "drivers"})
    chosen = {name: drivers[name] for name in changes.get("drivers", ("llpr",))}
    return Grid(name="tiny", systems={"small": system}, drivers=chosen, learners=2)


def lasting(found: Any) -> Any:
    """What must not depend on the machine or on interruptions."""
    if isinstance(found, dict):
        return {key: lasting(value) for key, value in found.items() if key not in VOLATILE}
    return [lasting(value) for value in found] if isinstance(found, list) else found


def read(folder: Path) -> dict[str, Any]:
    return {str(path.relative_to(folder)): json.loads(path.read_text()) for path in sorted(folder.glob("*/*/*.json"))}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """All four loops, run once."""
    folder = tmp_path_factory.mktemp("made")
    drivers = ("llpr", "gmm", "dynamics", "pool")
    assert run(grid(folder, drivers=drivers), folder / "out", command="as typed", **QUIET).made == 4
    return folder, {Path(name).stem: cell for name, cell in read(folder / "out").items() if "/0/" in name}


def test_a_cell_tells_the_whole_loop(made: tuple[Path, dict[str, Any]]) -> None:
    for cell in made[1].values():
        assert [g["number"] for g in cell["generations"]] == [0, 1, 2]
        assert [g["train"] for g in cell["generations"]] == [6, 9, 12]
        assert [g["labelled"] for g in cell["generations"]] == [3, 3, 0]
        assert [len(g["added"] or []) for g in cell["generations"]] == [3, 3, 0]
        for generation in cell["generations"]:
            assert set(generation["errors"]) == {"test", "path"}
            assert generation["errors"]["test"]["force MAE"] > 0
            assert -1 <= generation["errors"]["test"]["Spearman"] <= 1
            assert generation["survival"]["300"]["replicas"] == 3
            assert set(generation["survival"]["300"]["broke"]) == {"book", "study"}
            assert generation["training_s"] > 0
        assert set(cell["learners"]) == {"one network", "ensemble"}
        assert [cell["learners"]["ensemble"][when]["train"] for when in ("before", "after")] == [6, 12]
        assert cell["first"]["labels"] == 2
        assert cell["seconds"]["proposing"] > 0
        assert cell["command"] == "as typed"
        assert {"torch", "oracle"} < set(cell["versions"])


def test_paired_beginnings_and_shared_networks(made: tuple[Path, dict[str, Any]]) -> None:
    """All start from the same data; methods that leave a network's forces alone have the same ones."""
    cells = made[1]
    assert len({json.dumps(cell["start"]) for cell in cells.values()}) == 1
    for what in ("barrier", "survival"):
        assert len({json.dumps(cell["generations"][0][what]) for cell in cells.values()}) == 1
    maes = {cell["generations"][0]["errors"]["test"]["force MAE"] for cell in cells.values()}
    assert len(maes) == 1
    rankings = {name: cell["generations"][0]["errors"]["test"]["Spearman"] for name, cell in cells.items()}
    assert rankings["gmm"] != rankings["llpr"] == rankings["pool"]
    before = {json.dumps(lasting(cell["learners"]["ensemble"]["before"])) for cell in cells.values()}
    after = {json.dumps(lasting(cell["learners"]["ensemble"]["after"])) for cell in cells.values()}
    assert (len(before), len(after)) == (1, 4)
    own, plain = cells["llpr"]["generations"][-1], cells["llpr"]["learners"]["one network"]["after"]
    assert own["errors"] == plain["errors"]


def test_every_label_is_packed_and_named(made: tuple[Path, dict[str, Any]]) -> None:
    folder, cells = made
    lines = [json.loads(line) for line in (folder / "out" / "small" / "labels.jsonl").read_text().splitlines()]
    names = {line["name"] for line in lines if "name" in line}
    asked = {name for cell in cells.values() for g in cell["generations"] for name, _ in g["added"] or []}
    assert names == asked
    assert len(names) == len(lines) - 1 == len(Morse(str(folder / "asked")).asked())
    assert lines[0]["oracle"].startswith("Morse(")


def test_kept_stale_and_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, out = grid(tmp_path), tmp_path / "out"
    assert run(first, out, **QUIET) == Done(made=1, kept=0, stale=0)
    assert run(first, out, **QUIET) == Done(made=0, kept=1, stale=0)
    small = first.systems["small"]
    more = dataclasses.replace(first, systems={"small": dataclasses.replace(small, seeds=(0, 1))})
    assert [str(unit) for unit in running.what_is_left(more, out)[0]] == ["small/1/llpr"], "what is no part of a cell"
    other = grid(tmp_path, judged={"test": 11, "path": 0})
    assert run(other, out, **QUIET) == Done(made=1, kept=0, stale=1)
    assert "stale, made with other settings or data" in capsys.readouterr().out


def test_what_decides_a_cell(tmp_path: Path) -> None:
    before, small = grid(tmp_path), grid(tmp_path).systems["small"]
    driver = before.drivers["llpr"]
    others = [
        dataclasses.replace(before, learners=3),
        dataclasses.replace(before, drivers={"llpr": dataclasses.replace(driver, options={"ridge": 1.0})}),
        grid(tmp_path, labels=4),
        grid(tmp_path, oracle=Morse("elsewhere")),
        grid(tmp_path, training=dataclasses.replace(small.training, epochs=3)),
        grid(tmp_path, proposals={**small.proposals, "attack": Attacked(steps=3)}),
        grid(tmp_path, survival=dataclasses.replace(small.survival, rules={"book": (BondLengths(longest=1.6),)})),
    ]
    known = {json.dumps(g.identity("small", "llpr", 0), sort_keys=True) for g in (before, *others)}
    assert len(known) == 1 + len(others)
    same = grid(tmp_path, seeds=(0, 5), proposals={**small.proposals, "dynamics": FromDynamics(steps=3)})
    assert same.identity("small", "llpr", 0) == before.identity("small", "llpr", 0)


@pytest.mark.parametrize("epochs", [3, 9])
def test_killed_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Any, epochs: int) -> None:
    """Killed in the second generation's training, and while the ensemble learns: the cell is the same."""
    original, done = training._Run.one_epoch, []

    def until_killed(self: Any) -> Any:
        done.append(1)
        if len(done) == epochs:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(training._Run, "one_epoch", until_killed)
    same = grid(tmp_path, oracle=Morse(str(made[0] / "asked")))  # the name of its diary is part of a label's name
    before = len(Morse(str(made[0] / "asked")).asked())
    with pytest.raises(KeyboardInterrupt):
        run(same, tmp_path / "out", **QUIET)
    assert not list((tmp_path / "out").glob("small/*/*.json"))
    monkeypatch.undo()
    run(same, tmp_path / "out", **QUIET)
    cell = json.loads((tmp_path / "out" / "small" / "0" / "llpr.json").read_text())
    assert lasting(cell) == lasting(made[1]["llpr"])
    assert len(Morse(str(made[0] / "asked")).asked()) == before + 6, "no label was paid for twice"


def test_labels_are_shared_and_travel(tmp_path: Path, made: tuple[Path, dict[str, Any]]) -> None:
    """With cells and packed labels alone, another machine makes a lost cell again and asks for no label."""
    folder, cells = made
    oracle = Morse(str(folder / "asked"))
    before = len(oracle.asked())
    (tmp_path / "out" / "small").mkdir(parents=True)
    text = (folder / "out" / "small" / "labels.jsonl").read_bytes()
    (tmp_path / "out" / "small" / "labels.jsonl").write_bytes(text)
    with ThreadPoolExecutor(2) as executor:  # two at once in one folder
        run(grid(tmp_path, oracle=oracle, drivers=("llpr", "pool")), tmp_path / "out", executor=executor, **QUIET)
    assert len(oracle.asked()) == before
    for name in ("llpr", "pool"):
        cell = json.loads((tmp_path / "out" / "small" / "0" / f"{name}.json").read_text())
        assert lasting(cell) == lasting(cells[name])
    assert (tmp_path / "out" / "small" / "labels.jsonl").read_bytes() == text


def test_what_cannot_be_labelled_is_counted(tmp_path: Path) -> None:
    """Nothing to learn from is a result, not an error: the loop ends with the potential that it began with."""
    cell = do_unit(grid(tmp_path, oracle=Morse(str(tmp_path / "asked"), reach=0.5)).units()[0], scratch=tmp_path / "s")
    (only,) = cell["generations"]
    assert (only["labelled"], only["added"], only["failed"]) == (0, [], ["too wide"] * 3)
    assert only["candidates"]["kept"] == 3
    assert cell["first"] is None
    learnt = cell["learners"]["one network"]
    assert lasting(learnt["before"]) == lasting(learnt["after"])


def test_dynamics_that_use_the_uncertainty_drive_too(tmp_path: Path) -> None:
    """Biased, and stopped where they are uncertain: the same cells as others have; and no other cell goes stale."""
    before = grid(tmp_path)
    proposals = {
        **before.systems["small"].proposals,
        "biased": FromBiasedDynamics(strength=2.0, steps=20, trajectories=2, rmsd=0.0, percentile=0.0),
        "on-the-fly": OnTheFly(limit=1e-6, steps=200, replicas=4, unwatched=2, rmsd=0.0, closest=0.01),
    }
    new = {name: Driver(name=name, method="llpr", proposal=name) for name in ("biased", "on-the-fly")}
    found = grid(tmp_path, proposals=proposals)
    found = dataclasses.replace(found, drivers={**before.drivers, **new})
    assert found.identity("small", "llpr", 0) == before.identity("small", "llpr", 0)
    assert run(found, tmp_path / "out", only=["small/0/biased", "small/0/on-the-fly"], **QUIET).made == 2
    for cell in read(tmp_path / "out").values():
        assert [g["labelled"] for g in cell["generations"]] == [3, 3, 0]
        assert [g["train"] for g in cell["generations"]] == [6, 9, 12]
        assert cell["seconds"]["proposing"] > 0
        assert set(cell["learners"]) == {"one network", "ensemble"}


def test_a_loop_on_a_gpu(tmp_path: Path) -> None:
    """A pretended one refuses what nobody moved there: training, attacks, dynamics and the band go all the way."""
    with pretended.gpu():
        cell = do_unit(grid(tmp_path).units()[0], scratch=tmp_path / "s", device="auto")
    assert cell["hardware"]["accelerator"] == "a pretended GPU"
    assert [g["labelled"] for g in cell["generations"]] == [3, 3, 0]


def test_nothing_worth_a_label_is_a_result(tmp_path: Path) -> None:
    picky = {"attack": Attacked(steps=1, oversampling=1, rmsd=50.0, percentile=0.0)}
    cell = do_unit(grid(tmp_path, proposals=picky).units()[0], scratch=tmp_path / "s")
    (only,) = cell["generations"]
    assert only["candidates"]["duplicate"] == 3
    assert "kept" not in only["candidates"]
    assert only["labelled"] == 0


def test_a_failure_leaves_the_others_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = running.do_unit

    def sometimes(unit: Any, **options: Any) -> Any:
        if unit.driver == "llpr":
            raise ArithmeticError("out of luck")
        return original(unit, **options)

    monkeypatch.setattr(running, "do_unit", sometimes)
    with pytest.raises(StudyError, match=r"1 of 2 loops failed.*small/0/llpr: ArithmeticError: out of luck"):
        run(grid(tmp_path, drivers=("llpr", "pool")), tmp_path / "out", **QUIET)
    assert [path.stem for path in (tmp_path / "out").glob("small/0/*.json")] == ["pool"]


class DoubleWell(Calculator):
    """An umbrella whose height h over the H costs 20 (h² - 0.16)², and whose H are stiff: a hill of 0.512 eV."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]  # pyright: ignore

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = None) -> None:
        super().calculate(atoms, properties, system_changes)
        place = torch.tensor(atoms.positions, requires_grad=True)
        nitrogen, hydrogens = place[0], place[1:]
        height = (nitrogen - hydrogens.mean(0)).norm()
        sides, bonds = (hydrogens - hydrogens.roll(1, 0)).norm(dim=1), (hydrogens - nitrogen).norm(dim=1)
        stiff = ((sides - 1.6) ** 2).sum() + ((bonds - bonds.mean()) ** 2).sum()
        energy = 20.0 * (height**2 - 0.16) ** 2 + 40.0 * stiff
        (slope,) = torch.autograd.grad(energy, place)
        self.results = {"energy": energy.item(), "forces": -slope.numpy()}


def test_the_barrier_is_that_of_the_surface() -> None:
    """The hill, and not what the band had between its ends when it began: crooked, and with its ends off the minima."""
    band = band_of(datasets.load("ammonia"), settings := Barrier(split="path", images=5, force=0.01))
    for k, atoms in enumerate(band):
        atoms.positions += np.random.default_rng(k).normal(scale=0.03, size=(4, 3))
    found = climb(DoubleWell, band, settings)
    assert (found["why"], found["converged"]) == ("", True)
    assert found["height"] == pytest.approx(20.0 * 0.16**2, abs=1e-3)
    assert 0 < found["minimum"] < 0.2
    assert 0 < found["saddle"] < 0.2


def test_the_path_of_ammonia_has_the_height_that_its_card_names() -> None:
    data = datasets.load("ammonia")
    settings = Barrier(split="path", images=7)
    assert path_height(data, settings) == pytest.approx(data.card["checks"]["inversion barrier (eV)"], abs=1e-4)
    band = band_of(data, settings)
    heights = [atoms.positions[0, 2] - atoms.positions[1, 2] for atoms in band]
    assert len(band) == 7
    assert heights == sorted(heights, reverse=True)
    assert abs(heights[3]) < 1e-6


def test_a_band_that_breaks_says_why(tmp_path: Path) -> None:
    def refuse() -> Any:
        raise ValueError("atoms on top of each other\nand more")

    band = band_of(datasets.load("ammonia"), settings := Barrier(split="path"))
    assert climb(refuse, band, settings) == {"height": None, "converged": False, "why": "atoms on top of each other"}


def test_rules_side_by_side() -> None:
    """A molecule that flies apart breaks the tight set before the wide one, and ends with the last."""
    from uqlib.dynamics import VelocityVerlet, simulate

    class Free:
        cutoff, dtype, device = samples.CUTOFF, torch.float32, torch.device("cpu")

        def predict(self, batch: Any) -> Any:
            from uqlib.prediction import Prediction

            zero = batch.positions * 0.0
            energy = zero.new_zeros(batch.n_structures)
            return Prediction(energy=energy, forces=zero, force_uncertainty=zero[:, 0])

    start = samples.rattled("NH3", 0, size=0.0)
    fast = start.copy()
    fast.set_velocities([[0, 0, 0], [0.05, 0, 0], [0, 0, 0], [0, 0, 0]])
    witness = Witness(sets={"bonds": [BondLengths()], "distances": [AllDistances(shortest=0.7, longest=3.0)]})
    found = simulate(
        Free(), [start, fast, start], integrator=VelocityVerlet(), steps=2000, seed=0, every=10,
        rules=(witness,), progress=False,
    )  # fmt: skip
    assert found.broken.tolist() == [False, True, False]
    (bonds,), (distances,) = witness.seen["bonds"].values(), witness.seen["distances"].values()
    assert set(witness.seen["bonds"]) == {1}
    assert 0 < bonds < distances
    assert found.endings[1].time == distances * 10 * 0.5


def test_a_shelf_fits_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, brief = samples.dataset(names=("NH3",)), Settings(epochs=1, batch_size=4)
    shared: dict[str, Any] = {"network": samples.NETWORK, "settings": brief}
    plain, mixture = (
        Shelved(method=method, shelf=tmp_path) for method in (LastLayer(**shared), GaussianMixture(**shared))
    )
    parts = (data["train"], data["valid"])
    first = plain.fit(*parts, seed=0)
    monkeypatch.setattr(training._Run, "one_epoch", lambda self: pytest.fail("trained again"))
    assert (
        plain.fit(*parts, seed=0)
        .predict(data["test"].batch(cutoff=4.0))
        .forces.equal(mixture.fit(*parts, seed=0).predict(data["test"].batch(cutoff=4.0)).forces)
    )
    assert mixture.forces(*parts, 0) == plain.path(*parts, 0) != mixture.path(*parts, 0)
    assert (mixture.seconds(*parts, 0) or 0) > (plain.seconds(*parts, 0) or 0) > 0
    assert first.cutoff == 4.0
    assert not list(tmp_path.glob("*.parts")), "checkpoints have served"


def test_packing_keeps_everything(tmp_path: Path) -> None:
    whole = {"oracle": "two", "positions": [[0.1]], "cell": None, "energy": -1.5, "forces": [[2.0]], "stress": None}
    failed = {"oracle": "one", "positions": [[0.2]], "cell": None, "stress": None, "error": "no"}
    labels = {"b": whole, "a": failed}
    (tmp_path / "store").mkdir()
    for name, label in labels.items():
        (tmp_path / "store" / f"{name}.json").write_text(json.dumps(label))
    assert pack(tmp_path / "store", tmp_path / "packed") == 2
    assert unpack(tmp_path / "packed", tmp_path / "other") == 2
    assert {p.stem: json.loads(p.read_text()) for p in (tmp_path / "other").iterdir()} == labels
    assert unpack(tmp_path / "packed", tmp_path / "other") == 0
    assert pack(tmp_path / "empty", tmp_path / "packed") == 2, "what was packed stays"
    assert pack(tmp_path / "empty", tmp_path / "nothing") == 0
    (tmp_path / "broken").write_text('{"name": "a"}\n')
    with pytest.raises(ValueError, match="before a line that names their oracle"):
        unpack(tmp_path / "broken", tmp_path / "other")


def test_the_grid_that_comes_with_the_library() -> None:
    found = load_grid()
    assert {"ammonia", "ethanol", "silica", "silica-classical"} == set(found.systems)
    assert [str(unit) for unit in found.units()[:2]] == ["ammonia/10/ensemble", "ammonia/10/mve"]
    assert [unit.seed for unit in found.units(["ammonia/*/mve"])] == list(range(10, 20))
    for system in found.systems.values():
        data = system.load()
        starts = [system.begin(data, seed) for seed in system.seeds[:2]]
        positions = [{atoms.positions.tobytes() for part in start for atoms in part.atoms} for start in starts]
        assert positions[0] != positions[1], "drawn anew with the seed"
        pool = len(data["train"]) - len(starts[0][0])
        assert pool >= system.generations * system.labels, "the rival finds enough to draw from"
        assert system.survival.rest.find(data).calc is None


MISTAKES = [
    ("learners = 5", "learner = 5", "the file: got the entry 'learner', expected some of drivers, learners, systems"),
    ("learners = 5", "", "the file: has no entry 'learners'"),
    ('method = "mve"', 'method = "magic"', "drivers.mve: method: got 'magic'"),
    ("epochs = 250", "epoch = 250", "systems.ammonia.training: got the entry 'epoch', .* averaging,"),
    ("epochs = 250", "epochs = -2", "systems.ammonia.training: epochs: got -2"),
    ("temperature = 1000.0", 'temperture = 1000.0', "systems.ammonia.proposals.attack: got the entry 'temperture'"),
    ("labels = 10 #", "labels = 10\nlable = 1 #", "systems.ammonia: got the entry 'lable', expected some of barrier"),
    ('kind = "pyscf"', 'kind = "orca"', "systems.ammonia.oracle.kind: got 'orca'"),
    ('kind = "bonds"', 'kind = "bond"', "systems.ammonia.survival.rules.book.kind: got 'bond'"),
    ("number = 6, among = 40", "number = 60, among = 40", "systems.ammonia.start.train: number, among"),
    ('reference = "path"', 'reference = "hope"', "systems.ammonia.barrier.reference: got 'hope', expected 'path'"),
    ("learners = 5", "learners = [", r"loops\.toml: not TOML"),
    ("learners = 5", "learners = 1", "learners: got 1, expected greater than or equal to 2"),
    ("learners = 5", "learners = 5.5", "learners: got 5.5, expected a valid integer"),
    ("epochs = 250", "epochs = 250.0", "systems.ammonia.training.epochs: got 250.0, expected a valid integer"),
    ("epochs = 250", 'epochs = "250"', "systems.ammonia.training.epochs: got '250', expected a valid integer"),
    ("[systems.ammonia]", '[systems."../ammonia"]', "systems.../ammonia"),
    ("number = 6, among = 40", 'number = "6", among = 40', "systems.ammonia.start.train.number: got '6'"),
    ("[drivers.mve]", '[drivers."mve/x"]', "drivers.mve/x"),
    ("[drivers.mve]", "[drivers.MVE]\nmethod = \"mve\"\nproposal = \"attack\"\n[drivers.mve]", "small and capital"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "words"), MISTAKES)
def test_mistakes_in_the_file(tmp_path: Path, old: str, new: str, words: str) -> None:
    text = DEFAULT.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "loops.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        load_grid(path)


def test_mistakes_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, words in (
        (["--grid", "none.toml"], "grid: got 'none.toml'"),
        (["--workers", "0"], "--workers: got 0"),
        (["--scheduler", "tcp://x:1", "--workers", "2"], "--workers: the workers of a scheduler are its own"),
        (["--only", "ammonia"], "only: 'ammonia' matches no cell"),
    ):
        assert main(["loops", "--out", str(tmp_path), *options]) == 1
        assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
