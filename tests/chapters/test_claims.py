"""A claim is silent where it holds, says so where it falls short, and never raises."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uqlib.chapters import Claim, claim, claims


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the claims of one test."""
    monkeypatch.setattr(claims, "RECORD", [])
    monkeypatch.setenv(claims.RECORD_FILE, str(tmp_path / "claims.jsonl"))
    return tmp_path / "claims.jsonl"


@pytest.mark.parametrize(
    ("value", "bounds", "holds", "kept"),
    [
        (0.3, {"above": 0.2}, True, 0.3),
        (0.2, {"above": 0.2}, False, 0.2),
        (0.3, {"below": 0.2}, False, 0.3),
        (0.3, {"above": 0.2, "below": 0.4}, True, 0.3),
        ([1.0, 5.0, 3.0], {"above": 2.0}, False, 1.0),
        ([1.0, 5.0, 3.0], {"below": 6}, True, 5.0),
        ([1.0, 9.5], {"above": 0, "below": 10}, True, 9.5),
        (np.array([[2, 3], [4, 1]]), {"above": 0}, True, 1.0),
        (torch.tensor([2.0], requires_grad=True), {"above": 1}, True, 2.0),
        (True, {"equals": True}, True, 1.0),
        ([3, 3, 4], {"equals": 3}, False, 4.0),
        ("MVE", {"equals": "MVE"}, True, "MVE"),
        (math.nan, {"above": 0}, False, "nan"),
        ([1.0, math.nan], {"above": 0}, False, "nan"),
        (math.inf, {"above": 0}, False, "inf"),
        (lambda: 3, {"below": 4}, True, 3.0),
    ],
)
def test_a_claim_is_compared_and_recorded(
    made: Path, value: Any, bounds: dict[str, Any], holds: bool, kept: float | str
) -> None:
    claim("it is so", value, **bounds, unit="eV")
    (line,) = map(json.loads, made.read_text().splitlines())
    assert (line["words"], line["holds"], line["value"], line["unit"]) == ("it is so", holds, kept, "eV")
    assert (line["often"], line["fault"]) == ("always", "")
    (recorded,) = claims.RECORD
    assert recorded == Claim(**line)


@pytest.mark.parametrize(
    ("value", "options", "fault"),
    [
        ([], {"above": 0}, "there are no values"),
        (object(), {"above": 0}, "TypeError"),
        (lambda: 1 / 0, {"above": 0}, "ZeroDivisionError"),
        (1.0, {}, "expected bounds"),
        (1.0, {"above": 0, "equals": 1}, "expected bounds"),
        (1.0, {"above": 0, "often": "sometimes"}, "expected one of always, mostly, here"),
        ("word", {"above": 0}, "could not convert"),
    ],
)
def test_what_cannot_be_compared_is_said_and_not_raised(
    made: Path, capsys: pytest.CaptureFixture[str], value: Any, options: dict[str, Any], fault: str
) -> None:
    claim("it is so", value, **options)
    (line,) = map(json.loads, made.read_text().splitlines())
    assert not line["holds"]
    assert fault in line["fault"]
    assert "Could not be checked here" in capsys.readouterr().out


def test_only_what_falls_short_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    claim("the bonds differ", 0.03, above=0.02, unit="Å")
    assert capsys.readouterr().out == ""
    claim("the bonds differ", 0.003, above=0.02, unit="Å")
    assert capsys.readouterr().out == "Here: 0.003 Å, expected above 0.02 Å: “the bonds differ”\n"
    claim("some are kept", 0, above=0, below=12, often="mostly")
    assert "Here: 0, expected between 0 and 12" in (said := capsys.readouterr().out)
    assert "it is said with most seeds, not with all" in said


def test_a_notebook_shows_one_line_without_mark_up_of_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: object())
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    claim("a <b> & c", 1.0, above=2.0)
    assert shown[0]["text/plain"] == "Here: 1, expected above 2: “a <b> & c”"
    assert "a &lt;b&gt; &amp; c" in shown[0]["text/html"]
    assert 'class="claim-short"' in shown[0]["text/html"]
