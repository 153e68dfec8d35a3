"""`python -m uqlib export`: from a saved predictor to a file for engines, and what is refused on the way."""

from __future__ import annotations

from pathlib import Path

import engines
import pytest
import torch
from samples import batch_of
from test_contract import fit

from uqlib.__main__ import main
from uqlib.interfaces import MetatomicPredictor

MOLECULE = batch_of(engines.structures()["molecule"])


def saved(folder: Path, name: str) -> str:
    path = folder / f"{name}.uq"
    engines.fitted(name).save(path)
    return str(path)


@engines.needs_metatomic
@pytest.mark.filterwarnings(engines.TORCHSCRIPT)
def test_a_file_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine.pt"
    assert main(["export", saved(tmp_path, "llpr"), str(out), "--members", "6", "--seed", "4"]) == 0
    assert capsys.readouterr().out == f"wrote {out}\n"
    expected = engines.fitted("llpr").members(MOLECULE, count=6, seed=4).energy
    torch.testing.assert_close(MetatomicPredictor(out).members(MOLECULE).energy, expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["mine.txt"], "FILE.pt: got 'mine.txt', expected an ending .pt"),
        (["mine.pt", "--members", "3"], "--members, --seed: only LLPR draws members"),
        (["mine.pt", "--seed", "3"], "--members, --seed: only LLPR draws members"),
    ],
)
def test_bad_usage_is_reported(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", saved(tmp_path, "ensemble"), str(tmp_path / options[0]), *options[1:]]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / options[0]).exists()


def test_too_few_members_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", saved(tmp_path, "llpr"), str(tmp_path / "mine.pt"), "--members", "1"]) == 2
    assert "--members: got 1, expected at least 2" in capsys.readouterr().err


def test_a_ranking_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit("neighbours").save(tmp_path / "ranking.uq")
    assert main(["export", str(tmp_path / "ranking.uq"), str(tmp_path / "mine.pt")]) == 1
    assert "'neighbours' cannot be exported" in capsys.readouterr().err


def test_help_says_what_it_is_good_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    for word in ("metatomic", "ensembles, shallow ensembles, LLPR, MVE and evidential", "without uqlib"):
        assert word in words
