"""A board of a class: scores that can be worked out, rules that are kept, and thirty who write at once."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from uqlib.chapters import leaderboard
from uqlib.prediction import Prediction


@pytest.fixture(scope="module")
def truth() -> torch.Tensor:
    return torch.as_tensor(leaderboard.project().held_out.forces, dtype=torch.float64)


def prediction(truth: torch.Tensor, error: float = 0.02, spread: float = 0.02) -> Prediction:
    """Off by the same everywhere."""
    size = torch.full((len(truth),), spread, dtype=truth.dtype)
    return Prediction(energy=torch.zeros(1), forces=truth + error, force_uncertainty=size)


def test_everybody_gets_the_same_project_and_no_trajectory_is_on_both_sides() -> None:
    one, two = leaderboard.project(), leaderboard.project()
    assert (one.held_out.energies == two.held_out.energies).all()
    assert set(one.pool.groups).isdisjoint(one.held_out.groups)
    assert len(one.pool) > 3 * one.budget
    assert len(one.held_out) > 80
    for row in one.held_out.atoms:
        assert not any((row.positions == other.positions).all() for other in one.pool.atoms)


def test_scores_are_those_that_can_be_worked_out(truth: torch.Tensor, tmp_path: Path) -> None:
    found = leaderboard.submit(tmp_path / "board", "Ada", prediction(truth), range(60), note="the first")
    assert found["force MAE"] == pytest.approx(20.0)
    assert found["coverage of 95 %"] == 1.0
    assert found["CRPS"] == pytest.approx(20 * 0.60244, rel=1e-3)  # of a standard Gaussian, at one
    (entry,) = leaderboard.entries(tmp_path / "board")
    assert (entry["who"], entry["labels"], entry["note"]) == ("Ada", 60, "the first")


def test_a_score_in_nats_has_no_crps_and_stands_last(truth: torch.Tensor, tmp_path: Path) -> None:
    nats = dataclasses.replace(prediction(truth, error=0.001), unit="nats")
    assert leaderboard.submit(tmp_path, "distance", nats, [1])["CRPS"] is None
    leaderboard.submit(tmp_path, "ensemble", prediction(truth), [1])
    by_crps, by_error = (leaderboard.table(tmp_path, by=by).splitlines()[1] for by in ("CRPS", "force MAE"))
    assert "ensemble" in by_crps
    assert "distance" in by_error


def test_the_board_has_the_best_of_each_team(truth: torch.Tensor, tmp_path: Path) -> None:
    for who, error in (("Ada", 0.05), ("Ada", 0.01), ("Emmy", 0.03), ("Ada", 0.09)):
        leaderboard.submit(tmp_path, who, prediction(truth, error), [0, 1])
    lines = leaderboard.table(tmp_path, by="force MAE").splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["Ada", "Emmy"]
    assert " 10 " in lines[1]


def test_thirty_may_write_at_once(truth: torch.Tensor, tmp_path: Path) -> None:
    with ThreadPoolExecutor(30) as people:
        list(people.map(lambda k: leaderboard.submit(tmp_path, f"team {k}", prediction(truth), [k]), range(30)))
    assert {entry["who"] for entry in leaderboard.entries(tmp_path)} == {f"team {k}" for k in range(30)}
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}


def test_files_that_are_no_submissions_are_passed_over(truth: torch.Tensor, tmp_path: Path) -> None:
    leaderboard.submit(tmp_path, "Ada", prediction(truth), [0])
    (tmp_path / "half.json").write_text('{"who": "Ba')
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "other.json").write_text(json.dumps({"who": "x"}))
    assert len(leaderboard.entries(tmp_path)) == 1


@pytest.mark.parametrize(
    ("chosen", "words"),
    [(range(61), "got 61 structures"), ([], "got 0 structures"), ([1, 1], "each number once"), ([-1], "from 0 to")],
)
def test_the_budget_is_kept(chosen: list[int], words: str, truth: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        leaderboard.submit(tmp_path / "board", "Ada", prediction(truth), chosen)
    assert not (tmp_path / "board").exists()


def test_what_cannot_be_scored_is_refused(truth: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"predict\(predictor, project.held_out\)"):
        leaderboard.submit(tmp_path, "Ada", prediction(truth[:-1]), [0])
    with pytest.raises(ValueError, match="no finite numbers"):
        leaderboard.submit(tmp_path, "Ada", prediction(truth, spread=float("nan")), [0])
    with pytest.raises(ValueError, match="who: got an empty name"):
        leaderboard.submit(tmp_path, "  ", prediction(truth), [0])
    with pytest.raises(ValueError, match="by: got 'luck'"):
        leaderboard.table(tmp_path, by="luck")
