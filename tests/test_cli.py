"""The command line, as a newcomer meets it: what it prints, what it writes, how it fails."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import samples
import torch

import uqlib
from uqlib import __main__ as cli
from uqlib import methods
from uqlib.__main__ import main
from uqlib.calibration import Calibrated, calibrate
from uqlib.commands.train import recipe_of
from uqlib.interfaces import error_bars
from uqlib.metrics import mae
from uqlib.networks import training
from uqlib.networks.origin import fingerprint
from uqlib.prediction import predict
from uqlib.structures import datasets
from uqlib.study import scoring

QUICK = ("--members", "2", "--epochs", "2", "--features", "8")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "mine.xyz"
    ase.io.write(path, list(samples.dataset({"all": 30}).atoms), format="extxyz")
    return path


@pytest.fixture(scope="module")
def model(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained and saved by the command line itself."""
    path = tmp_path_factory.mktemp("model") / "mine.uq"
    assert main(["train", "--data", str(labelled), "--method", "ensemble", *QUICK, "--out", str(path)]) == 0
    return path


def test_help_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "uqlib", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "100"})
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        "data ",
        "train ",
        "compare ",
        "predict ",
        "show ",
        "make book",
        "train --data ammonia --method ensemble",
    ):
        assert words in done.stdout


def test_list_of_data_sets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == 0
    printed = capsys.readouterr().out
    for name in datasets.available():
        assert repr(datasets.load(name)) in printed


def test_one_data_set(capsys: pytest.CaptureFixture[str], labelled: Path) -> None:
    name = datasets.available()[0]
    assert main(["data", name]) == 0
    printed, card = capsys.readouterr().out, datasets.load(name).card
    assert all(words in printed for words in (card["licence"], card["title"], *card["splits"]))
    assert main(["data", str(labelled)]) == 0
    assert "30 structures of H2O, H3N, O2" in capsys.readouterr().out


def test_train_and_score(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, folder = tmp_path / "mine.uq", tmp_path / "runs"
    command = ["train", "--data", str(labelled), "--method", "ensemble", *QUICK, "--seed", "3"]
    assert main([*command, "--out", str(out), "--checkpoints", str(folder)]) == 0
    first = capsys.readouterr()
    assert "member 2 of 2" in first.err, "a progress bar"
    for words in ("splits            train 21, valid 3, test 6", "MAE", "ROC-AUC", "miscalibration", "meV/Å", "±"):
        assert words in first.out
    assert sorted(p.name for p in folder.iterdir()) == ["member-0.ckpt", "member-1.ckpt"]

    monkeypatch.setattr(training._Run, "one_epoch", None)  # with the checkpoints there is nothing left to train
    assert main([*command, "--checkpoints", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == first.out.splitlines()[-3:]

    test = datasets.read(labelled).split(seed=3, by_group=True, train=21, valid=3, test=6)["test"]
    found = predict(methods.load(out), test)
    shown = scoring.table({"test": scoring.score(found, test)})
    assert shown in first.out
    assert scoring.score(found, test).energy["MAE"].value == pytest.approx(  # pyright: ignore[reportOptionalMemberAccess]
        float(mae(found.energy / sizes(test), torch.as_tensor(test.energies) / sizes(test))) * 1000
    )


@pytest.mark.parametrize("method", sorted(methods.EVERY))
def test_an_option_changes_what_it_names_and_nothing_else(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The learning rate of snapshots and the schedule of those trained by likelihood are their own."""
    default: Any = methods.EVERY[method]
    monkeypatch.setitem(methods.EVERY, method, dataclasses.replace(default, network={"cutoff": 4.0}))
    arguments = ["train", "--data", "ammonia", "--method", method]
    recipe = recipe_of(cli._parser().parse_args([*arguments, "--epochs", "30", "--features", "8"]))
    assert recipe.network == {"cutoff": 4.0, "features": 8}
    assert recipe.settings == dataclasses.replace(default.settings, epochs=30)
    if method in ("shallow", "crps"):  # 300 epochs and 100
        assert recipe.likelihood_settings == dataclasses.replace(default.likelihood_settings, epochs=10)
    changed = {"network", "settings", "likelihood_settings"}
    names = {field.name for field in dataclasses.fields(recipe)} - changed
    assert all(getattr(recipe, name) == getattr(default, name) for name in names)
    same = recipe_of(cli._parser().parse_args([*arguments, "--epochs", str(default.settings.epochs)]))
    assert same == methods.EVERY[method]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Molecules without a stress, cells with one."""
    path = tmp_path_factory.mktemp("cells") / "cells.xyz"
    ase.io.write(path, list(samples.with_cells({"all": 24}).atoms), format="extxyz")
    return path


@pytest.mark.parametrize("method", ["ensemble", "mve", "gmm"])
def test_train_with_stress(cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str) -> None:
    command = ["train", "--data", str(cells), "--method", method, "--epochs", "2", "--features", "8"]
    out = tmp_path / "mine.uq"
    assert main([*command, "--no-by-group", "--stress-weight", "1", "--out", str(out)]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "stress" in line.split()[1:3]]  # after "test *"
    assert "meV/Å³" in row
    assert row.count("–") == (3 if method == "gmm" else 0), "a score in nats is none of the stress"
    said = tmp_path / "said.xyz"
    assert main(["predict", str(out), str(cells), "--out", str(said)]) == 0
    frames = list(ase.io.iread(said))
    assert [("uqlib_stress_uncertainty" in f.info) for f in frames] == [
        bool(f.pbc.all()) and method != "gmm" for f in frames
    ]


def test_stress_that_is_not_there(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--data", str(labelled), "--method", "ensemble", *QUICK, "--no-by-group"]
    assert main([*command, "--stress-weight", "1"]) == 1
    assert (
        "none of stress; none has one, and the loss has a weight for it: set --stress-weight 0"
        in capsys.readouterr().err
    )
    assert main([*command, "--stress-weight", "-1"]) == 2
    assert "--stress-weight: got -1, expected 0 or more" in capsys.readouterr().err


def sizes(data: datasets.Dataset):
    return torch.tensor([len(atoms) for atoms in data.atoms])


@pytest.mark.parametrize("ending", ["json", "md", "txt"])
def test_compare(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str) -> None:
    out, folder = tmp_path / f"table.{ending}", tmp_path / "runs"
    sizes = ["--epochs", "2", "--features", "8", "--interactions", "1", "--seed", "2", "--checkpoints", str(folder)]
    command = ["compare", "--data", str(labelled), "--methods", "llpr", "gmm", *sizes]
    assert main([*command, "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "2/3" in shown.err, "a progress bar over the methods"
    for words in (
        "splits            train 21, valid 3, test 6",
        "llpr",
        "gmm",
        "Spearman",
        "±",
        "one network",
        "saved",
    ):
        assert words in shown.out
    written = out.read_text()
    if ending == "json":
        assert json.loads(written)["scores"]["llpr"]["test"]["force"]["Spearman"]["value"] <= 1
    elif ending == "txt":
        assert written in shown.out
    else:
        assert "| llpr " in written
    assert [path.name for path in folder.rglob("*.ckpt")] == ["network.ckpt"], "one network for both"


def test_predict(model: Path, labelled: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "predicted.xyz"
    assert main(["predict", str(model), str(labelled), "--out", str(out)]) == 0
    assert [p.name for p in out.parent.iterdir()] == ["predicted.xyz"]
    frames, data = list(ase.io.iread(out)), datasets.read(labelled)
    expected = predict(methods.load(model), data)
    np.testing.assert_allclose([f.info["uqlib_energy"] for f in frames], expected.energy, rtol=1e-9)
    np.testing.assert_allclose(np.concatenate([f.arrays["uqlib_forces"] for f in frames]), expected.forces, atol=1e-6)
    spread = np.concatenate([f.arrays["uqlib_force_uncertainty"] for f in frames])
    np.testing.assert_allclose(spread, expected.force_uncertainty, atol=1e-6)
    assert [f.info["uqlib_energy_uncertainty"] for f in frames] == pytest.approx(expected.energy_uncertainty.tolist())  # pyright: ignore[reportOptionalMemberAccess]
    assert frames[0].info["uqlib_unit"] == "eV/Å"
    again = datasets.read(out)
    np.testing.assert_allclose(again.energies, data.energies, rtol=1e-9, err_msg="labels stay labels")
    np.testing.assert_allclose(again.forces, data.forces, atol=1e-6)


@pytest.mark.parametrize("ending", ["extxyz", "traj", "db", "json"])
def test_predict_into_other_files(model: Path, labelled: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"predicted.{ending}"
    assert main(["predict", str(model), str(labelled), "--out", str(out)]) == 0
    data = datasets.read(labelled)
    frames = error_bars.read(out)
    np.testing.assert_allclose([f.get_potential_energy() for f in frames], data.energies)
    expected = predict(methods.load(model), data).force_uncertainty
    np.testing.assert_allclose(
        np.concatenate([f.arrays["uqlib_force_uncertainty"] for f in frames]), expected, atol=1e-6
    )


def test_predictions_are_never_learnt(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The usual case: structures without labels, predicted, and then taken for a training set by mistake."""
    bare = [samples.rattled(("NH3", "O2")[seed % 2], seed) for seed in range(20)]
    ase.io.write(tmp_path / "bare.xyz", bare, format="extxyz")
    out = tmp_path / "predicted.xyz"
    assert main(["predict", str(model), str(tmp_path / "bare.xyz"), "--out", str(out)]) == 0
    assert [frame.calc for frame in datasets.read(out).atoms] == [None] * 20
    capsys.readouterr()
    assert main(["train", "--data", str(out), "--method", "ensemble", *QUICK]) == 1
    assert "have none" in capsys.readouterr().err


def test_show(model: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(model)]) == 0
    printed = capsys.readouterr().out
    for words in ("H N O", "5 Å", "eV/Å³", "mine/train, 21 structures", "calibration       none", uqlib.__version__):
        assert words in printed
    train = datasets.read(labelled).split(seed=0, by_group=True, train=21, valid=3, test=6)["train"]
    assert fingerprint(train) in printed
    assert main(["show", str(labelled)]) == 1
    assert "not a file of uqlib" in capsys.readouterr().err


def test_predict_with_a_calibrated_model(model: Path, labelled: Path, tmp_path: Path) -> None:
    fitted, data = methods.load(model), datasets.read(labelled)
    calibrator = calibrate("scalar", predict(fitted, data), data)
    Calibrated(fitted, calibrator).save(tmp_path / "calibrated.uq")
    spreads = []
    for path in (model, tmp_path / "calibrated.uq"):
        assert main(["predict", str(path), str(labelled), "--out", str(tmp_path / "out.xyz")]) == 0
        frames = list(ase.io.iread(tmp_path / "out.xyz"))
        spreads.append(np.concatenate([f.arrays["uqlib_force_uncertainty"] for f in frames]))
    ratio = spreads[1] / spreads[0]
    assert ratio.std() < 1e-5 * ratio.mean()
    assert abs(ratio.mean() - 1) > 0.01


def test_predict_without_labels(model: Path, tmp_path: Path) -> None:
    ase.io.write(tmp_path / "bare.xyz", [samples.rattled("NH3", 0), samples.rattled("O2", 1)], format="extxyz")
    assert main(["predict", str(model), str(tmp_path / "bare.xyz"), "--out", str(tmp_path / "out.xyz")]) == 0
    frame, _ = ase.io.iread(tmp_path / "out.xyz")
    assert np.isfinite(frame.arrays["uqlib_forces"]).all()
    assert frame.calc is None


def test_the_model_says_its_type(model: Path, labelled: Path, tmp_path: Path) -> None:
    """One in float64 needs no option, on whatever device there is, in batches as small as one likes."""
    exact: Any = methods.load(model).to("float64")  # pyright: ignore[reportAttributeAccessIssue]
    exact.save(tmp_path / "exact.uq")
    out = tmp_path / "out.xyz"
    options = ["--device", "auto", "--memory", "1e-6"]
    assert main(["predict", str(tmp_path / "exact.uq"), str(labelled), "--out", str(out), *options]) == 0
    found = np.concatenate([frame.arrays["uqlib_forces"] for frame in ase.io.iread(out)])
    np.testing.assert_allclose(found, predict(exact, datasets.read(labelled), device="cpu").forces, atol=1e-7)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize(
    "command",
    [
        "train --data {mine} --method gmm",
        "compare --data {mine}",
        "predict {model} {mine} --out {out}",
        "study --scale teaching --out {out}",
    ],
)
def test_a_gpu_that_is_not_there(
    model: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    words = command.format(mine=labelled, model=model, out=tmp_path / "out.xyz").split()
    assert main([*words, "--device", "cuda"]) == 2
    assert "--device: got 'cuda', but torch sees no GPU" in capsys.readouterr().err
    assert not (tmp_path / "out.xyz").exists()
    assert main([*words, "--device", "gpu"]) == 2
    assert '--device: got \'gpu\', expected "auto", "cpu", "cuda"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["train"], ["train", "--data", "x", "--method", "none"],
     ["compare"], ["compare", "--data", "x", "--methods", "none"], ["predict", "a"],
     ["train", "--data", "ammonia", "--method", "ensemble", "--epochs", "many"]],
)  # fmt: skip
def test_usage_that_argparse_refuses(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: python -m uqlib" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("data amonia", 2, "got 'amonia', expected one of ammonia"),
        ("train --data none.xyz --method ensemble", 2, "got 'none.xyz', expected one of"),
        ("train --data {mine} --method ensemble --members 1", 2, "members: got 1, expected at least 2"),
        ("train --data {mine} --method ensemble --epochs 0", 2, "epochs: got 0, expected a positive number"),
        ("train --data {mine} --method ensemble --out {folder}", 2, "is a folder, expected the name of a file"),
        ("train --data {mine} --method ensemble --out {mine}/model.uq", 2, "cannot write into"),
        (
            "train --data {few} --method ensemble",
            2,
            "has 3 structures; to be divided into train, valid and test it needs",
        ),
        ("train --data {bare} --method ensemble", 1, "have none of energy and forces"),
        ("train --data {broken} --method ensemble", 1, "broken.xyz: not extended XYZ, or cut short"),
        ("compare --data {mine} --out {folder}/table.pdf", 2, "expected an ending .json, .md or .txt"),
        ("compare --data {mine} --methods llpr --epochs 0", 1, "epochs: got 0, expected a positive number"),
        ("compare --data {bare} --methods llpr", 1, "have none of energy and forces"),
        ("predict {none} {mine} --out {folder}/out.xyz", 1, "No such file or directory"),
        ("predict {mine} {mine} --out {folder}/out.xyz", 1, "not a file of uqlib"),
        ("predict {model} {none} --out {folder}/out.xyz", 1, "does not exist"),
        ("predict {model} {methane} --out {folder}/out.xyz", 1, "got [6], this network knows [1, 7, 8]"),
        ("predict {model} {mine} --out {folder}/out.txt", 2, "expected an ending .xyz, .extxyz, .traj, .db, .json"),
    ],
)
def test_failures_are_one_line(
    model: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    command: str, status: int, words: str,
) -> None:  # fmt: skip
    files = {name: tmp_path / f"{name}.xyz" for name in ("few", "bare", "broken", "methane", "none")}
    ase.io.write(files["few"], list(samples.dataset({"all": 3}).atoms), format="extxyz")
    ase.io.write(files["bare"], [samples.rattled("NH3", i) for i in range(20)], format="extxyz")
    files["broken"].write_text(labelled.read_text()[:1000])
    ase.io.write(files["methane"], samples.rattled("CH4", 0), format="extxyz")
    before = sorted(tmp_path.iterdir())
    capsys.readouterr()
    text = command.format(**files, mine=labelled, model=model, folder=tmp_path)
    assert main(text.split()) == status
    shown = capsys.readouterr().err
    assert words in shown
    assert shown.splitlines()[-1].startswith("uqlib: ")
    assert "Traceback" not in shown
    assert sorted(tmp_path.iterdir()) == before, "nothing was written"


def test_verbose_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "amonia", "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_full_disk(
    model: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.xyz"
    out.write_text("older")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert main(["predict", str(model), str(labelled), "--out", str(out)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert out.read_text() == "older"
    assert [p.name for p in tmp_path.iterdir()] == ["out.xyz"]


def test_interrupted(labelled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training._Run, "one_epoch", interrupted)
    assert main(["train", "--data", str(labelled), "--method", "ensemble", *QUICK]) == 130
    assert "--checkpoints" in capsys.readouterr().err
