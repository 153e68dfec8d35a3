"""The page "What was checked" says what the audit found, and what the shown runs found beside it."""

import re
from pathlib import Path

import audited
import checks_page
import notebooks
import pytest
from test_audit import made, result

TEXT = (notebooks.ROOT / "book" / f"{checks_page.NAME}.md").read_text(encoding="utf-8")


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The page after an audit of two chapters, one of which failed with other seeds."""
    nasty = "a <b> | $x$ & `code`"
    one = audited.compare(
        {
            "own": result(made(nasty, 3.0, above=2.0, unit="eV"), made("most", 1.0, above=0.0, often="mostly")),
            "seeds 1": result(made(nasty, 1.0, False, above=2.0, unit="eV"), made("most", 2.0, above=0.0)),
        }
    )
    stopped = {"cell": 1, "cells": 2, "error": "KeyError: <x>"}
    two = audited.compare({"own": result(made("exact", 7.0, equals=7.0)), "seeds 1": result(failed=stopped)})
    monkeypatch.setattr(audited, "FILE", tmp_path / "claims.json")
    audited.write({"own": "as it is", "seeds 1": "moved"}, {"painn": one, "choosing": two})
    return checks_page.fill(TEXT, {"painn": [made(nasty, 1.5, False, above=2.0, unit="eV")], "choosing": []})


def test_the_page_says_what_was_found(filled: str) -> None:
    assert "<!--" not in filled
    words = " ".join(re.sub(r"<[^>]+>", " ", filled).split())
    assert "2 chapters make 3 claims. Each was looked at under every variant that was run: 6 times in all" in words
    assert "and 4 times it held" in words
    assert "1 of 3 do all that their words promise" in words
    assert "none of them fell short" not in words
    assert "Here: 1.5 eV, expected above 2 eV: “a &lt;b&gt; | $x$ &amp; `code`”" in words
    assert "own as it is 3 of 3 seeds 1 moved 1 of 3" in words
    assert "a &lt;b&gt; | $x$ &amp; `code` 1.5 eV above 2 eV 1 of 2 −0.7" in words
    assert "most (mostly) – above 0 2 of 2 1.4" in words
    assert "exact – 7 1 of 2 –" in words
    assert "Its code failed under seeds 1: KeyError: &lt;x&gt;" in words
    assert 'href="painn.html"' in filled


def test_its_html_is_not_ended_by_an_empty_line(filled: str) -> None:
    for block in re.findall(r"^<(?:div|details)[\s\S]*?^</(?:div|details)>", filled, re.MULTILINE):
        assert "\n\n" not in block


def test_without_an_audit_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audited, "FILE", tmp_path / "nothing.json")
    assert checks_page.fill(TEXT, {}).count("No audit belongs to this copy") == 4
