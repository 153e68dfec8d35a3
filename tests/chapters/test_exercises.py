"""Checks of exercises: right answers of every kind, and typical wrong ones by what is said of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from uqlib.chapters import check, hint
from uqlib.chapters.exercises import Exercise, exercises, find, minutes, verdict

ROOT = Path(__file__).resolve().parents[2]
ALL = list(exercises().values())
NUMBERS = [exercise for exercise in ALL if exercise.kind == "number"]
CHOICES = [exercise for exercise in ALL if exercise.kind == "choice"]


def key(exercise: Exercise) -> str:
    return exercise.key


def bounds(exercise: Exercise) -> tuple[float, float]:
    assert exercise.low is not None
    assert exercise.high is not None
    return exercise.low, exercise.high


@pytest.mark.parametrize("exercise", NUMBERS, ids=key)
def test_numbers_within_the_bounds_are_right_and_others_are_not(exercise: Exercise) -> None:
    low, high = bounds(exercise)
    assert low <= high
    for value in (low, high, (low + high) / 2):
        assert verdict(exercise, value) == ""
    span = high - low + max(abs(low), abs(high), 1.0)
    assert verdict(exercise, high + span)
    assert verdict(exercise, low - span)


@pytest.mark.parametrize("exercise", NUMBERS, ids=key)
def test_a_typical_mistake_is_called_by_its_name(exercise: Exercise) -> None:
    low, high = bounds(exercise)
    for mistake in exercise.mistakes:
        middle = (mistake["low"] + mistake["high"]) / 2
        assert not low <= middle <= high, "a mistake that would be accepted"
        assert verdict(exercise, middle) == mistake["say"]


@pytest.mark.parametrize("exercise", CHOICES, ids=key)
def test_each_wrong_option_has_its_reason(exercise: Exercise) -> None:
    assert exercise.answer in exercise.options
    assert set(exercise.wrong) == set(exercise.options) - {exercise.answer}
    for option in exercise.options:
        assert (verdict(exercise, f" {option.upper()} ") == "") == (option == exercise.answer)
    assert "expected one of" in verdict(exercise, "something else altogether")
    assert "expected one of" in verdict(exercise, 3)


@pytest.mark.parametrize("exercise", ALL, ids=key)
def test_each_has_a_hint_that_is_no_answer_and_a_time(exercise: Exercise) -> None:
    assert exercise.hint
    assert 0 < exercise.minutes <= 60
    assert bool(exercise.ask) == (exercise.kind != "open")


@pytest.mark.parametrize("exercise", [each for each in ALL if each.claim], ids=key)
def test_an_honest_answer_passes_on_every_machine(exercise: Exercise) -> None:
    """What the chapter's claim allows, and all that its audit found, is accepted."""
    audited = json.loads((ROOT / "book/claims.json").read_text(encoding="utf-8"))["chapters"]
    claims = {each["words"]: each for each in audited[exercise.chapter]["claims"]}
    assert exercise.claim in claims, "the chapter makes no such claim"
    found = claims[exercise.claim]
    allowed = [found[bound] for bound in ("above", "below", "equals") if bound in found]
    for value in [*found["values"], *allowed]:
        assert verdict(exercise, 1 / value if exercise.inverse else value) == ""


UNITS = Exercise(key="a.1", minutes=1, hint="h", ask="a", unit="meV/Å", low=20.0, high=30.0)
RATIO = Exercise(key="a.2", minutes=1, hint="h", ask="a", low=0.1, high=0.4, ratio=True)
SHARE = Exercise(key="a.3", minutes=1, hint="h", ask="a", low=0.6, high=0.9, share=True)
SPREAD = Exercise(key="a.4", minutes=1, hint="h", ask="a", low=5.0, high=6.0)


@pytest.mark.parametrize(
    ("exercise", "answer", "words"),
    [
        (UNITS, -25.0, "the sign is not"),
        (UNITS, 0.025, "a thousand times too small. Is it in eV"),
        (UNITS, 25 / 43.364, "kcal/mol"),
        (UNITS, 25 / 27211.4, "hartree"),
        (UNITS, 25000.0, "a thousand times too large"),
        (UNITS, 120.0, "too large, by a factor of 4"),
        (UNITS, 31.0, "too large, but not by much"),
        (UNITS, 8.0, "too small, by a factor of 2.5"),
        (UNITS, "25", "got '25', text in quotes, expected a number in meV/Å"),
        (UNITS, True, "expected a number"),
        (UNITS, [25.0, 26.0], "got [25.0, 26.0], a list, expected a number"),
        (UNITS, np.arange(3.0), "got 3 numbers"),
        (UNITS, math.nan, "no finite number"),
        (UNITS, math.inf, "no finite number"),
        (RATIO, 4.0, "upside down"),
        (RATIO, -0.2, "the sign is not"),
        (SHARE, 75.0, "right as a percentage"),
        (SPREAD, 30.25, "the square"),
        (SPREAD, 0.0, "too small."),
    ],
)
def test_what_is_wrong_is_said(exercise: Exercise, answer: Any, words: str) -> None:
    assert words in verdict(exercise, answer)


@pytest.mark.parametrize(
    "answer",
    [25, 25.0, np.float32(25), np.array([25.0]), torch.tensor(25.0), torch.tensor([25.0]), SimpleNamespace(value=25.0)],
)
def test_a_number_may_come_in_any_clothes(answer: Any) -> None:
    assert verdict(UNITS, answer) == ""


def test_yes_and_no_may_be_true_and_false() -> None:
    exercise = find("attack.1")
    assert verdict(exercise, False) == ""
    assert verdict(exercise, True)


@pytest.mark.parametrize("nothing", [None, ...])
def test_an_empty_answer_is_quiet(nothing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("ensembles.2", nothing) is None
    printed = capsys.readouterr()
    assert printed.out == "ensembles.2: not answered yet. hint('ensembles.2') helps.\n"
    assert printed.err == ""


def test_answers_are_judged_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    check("dynamics.1b", 183)
    check("dynamics.1b", 149)
    hint("dynamics.1b")
    right, wrong, helping = capsys.readouterr().out.splitlines()
    assert right == "dynamics.1b: right."
    assert "That is for 95 %" in wrong
    assert helping == find("dynamics.1b").hint


def test_an_open_exercise_says_that_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    check("active_learning.2", "when errors on the new labels stop falling")
    assert "no answer that a program could check" in capsys.readouterr().out


def test_in_a_notebook_the_hint_unfolds(monkeypatch: pytest.MonkeyPatch) -> None:
    from IPython.core import getipython

    shown: list[dict[str, str]] = []
    monkeypatch.setattr(getipython, "get_ipython", object)
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    check("painn.2", None)
    check("painn.2", 6.2)
    check("painn.2", 5.0)
    waiting, wrong, right = (each["text/html"] for each in shown)
    assert "<details><summary>Hint</summary>" in waiting
    assert "from nitrogen to nitrogen" in wrong
    assert "right." in right
    assert "<details>" not in right
    assert shown[0]["text/plain"].startswith("painn.2: not answered yet")


def test_an_unknown_exercise_is_refused_with_names_like_it() -> None:
    with pytest.raises(ValueError, match=r"key: got 'ensemble.2', expected .*ensembles.2"):
        check("ensemble.2", 1)


def test_the_minutes_of_a_chapter_are_those_of_its_exercises() -> None:
    assert minutes("attack") == sum(each.minutes for each in ALL if each.key.startswith("attack."))
    assert minutes("no_chapter") == 0


def test_what_can_be_worked_out_is_accepted_as_worked_out() -> None:
    assert verdict(find("dynamics.1"), 0.025 ** (1 / 16)) == ""
    assert verdict(find("dynamics.1b"), math.ceil(math.log(0.025) / math.log(0.98))) == ""
    assert verdict(find("judging_uncertainty.2"), math.log(1000)) == ""
    assert verdict(find("judging_uncertainty.2b"), math.log(2)) == ""
    for name, level in (("recalibration.2", 0.99), ("recalibration.2b", 0.999)):
        least = next(n for n in range(1, 2000) if math.ceil(round((n + 1) * level, 9)) <= n)
        assert verdict(find(name), least) == ""
    least = next(n for n in range(1, 20) if 2 / 2**n < 0.05)
    assert verdict(find("verdict.2"), least) == ""
    assert verdict(find("after_the_paper.2"), 1 / math.sqrt(2 * 3)) == ""


def test_the_forces_of_the_path_belong_to_its_energies() -> None:
    from uqlib.structures import datasets

    path = datasets.load("ammonia")["path"]
    steps = np.diff([atoms.positions for atoms in path.atoms], axis=0)
    forces = path.forces.reshape(len(path), -1, 3)
    work = -np.cumsum((0.5 * (forces[1:] + forces[:-1]) * steps).sum(axis=(1, 2)))
    rise = path.energies[1:] - path.energies[0]
    exercise = find("ammonia.1")
    assert verdict(exercise, 1000 * np.abs(work - rise).max()) == ""
    assert "the sign" in verdict(exercise, 1000 * np.abs(-work - rise).max())
    assert "Is it in eV" in verdict(exercise, np.abs(work - rise).max())
