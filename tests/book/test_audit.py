"""What an audit finds is summed up as it was, and what the book's last one found is what the chapters promise."""

import json
from pathlib import Path
from typing import Any

import audit
import audited
import execute
import nbformat
import notebooks
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook


def made(words: str, value: Any, holds: bool = True, **bounds: Any) -> dict[str, Any]:
    """A claim as a run records it."""
    plain = {"above": None, "below": None, "equals": None, "unit": "", "often": "always", "fault": ""}
    return {"words": words, "value": value, "holds": holds, **plain, **bounds}


def result(*claims: dict[str, Any], failed: dict[str, Any] | None = None) -> dict[str, Any]:
    """A chapter's result under one variant."""
    return {"machine": "a machine", "date": "2026-01-02", "claims": list(claims), "failed": failed}


def test_values_spread_and_margin() -> None:
    values = {"own": 5.0, "SSE, 1 thread": 4.9, "seeds 1": 3.0, "seeds 2": 4.0}
    chapter = audited.compare(
        {
            name: result(
                made("above two", value, above=2.0, unit="eV"),
                made("between", value, above=0.0, below=6.0),
                made("three members", 3.0, equals=3.0),
                made("first", "MVE", equals="MVE"),
            )
            for name, value in values.items()
        }
    )
    above, between, count, word = chapter.claims
    assert above.values == values
    assert above.spread == 1.0, "over the seeds 5, 3, 4; the numerics do not count"
    assert above.margin == 1.0
    assert between.margin == 1.0, "the nearer bound"
    assert (count.spread, count.margin) == (0.0, None)
    assert (word.spread, word.margin) == (None, None)
    assert [each.short for each in chapter.claims] == [()] * 4
    assert [entry[2].words for entry in audited.thinnest({"x": chapter})] == ["above two", "between"]


def test_a_worst_value_beyond_its_bound_has_a_negative_margin() -> None:
    chapter = audited.compare(
        {
            "own": result(made("a", 3.0, above=2.0)),
            "AVX2, 1 thread": result(made("a", 1.0, holds=False, above=2.0)),
            "seeds 1": result(made("a", 4.0, above=2.0)),
        }
    )
    (claim,) = chapter.claims
    assert claim.short == ("AVX2, 1 thread",)
    assert claim.margin == pytest.approx(-1 / 0.5**0.5, abs=0.01)
    assert chapter.broken(claim) == ["falls short under AVX2, 1 thread"]


@pytest.mark.parametrize(
    ("often", "short", "broken"),
    [("always", 0, False), ("always", 1, True), ("mostly", 1, False), ("mostly", 2, True), ("here", 3, False)],
)
def test_what_the_words_promise_is_counted_over_the_seeds(often: str, short: int, broken: bool) -> None:
    names = ["own", "seeds 1", "seeds 2", "seeds 3"]
    runs = {
        name: result(made("a", 1.0, holds=number < 4 - short, above=0.0, often=often))
        for number, name in enumerate(names)
    }
    chapter = audited.compare(runs)
    assert bool(chapter.broken(chapter.claims[0])) == broken


def test_a_claim_that_was_not_reached_fell_short() -> None:
    stopped = {"cell": 2, "cells": 3, "error": "KeyError: 'x'"}
    chapter = audited.compare(
        {
            "own": result(made("a", 1.0, above=0.0), made("b", 1.0, above=0.0)),
            "seeds 1": result(made("a", 2.0, above=0.0), failed=stopped),
        }
    )
    first, second = chapter.claims
    assert (first.short, second.short, second.values["seeds 1"]) == ((), ("seeds 1",), None)
    assert second.margin is None
    assert chapter.failures == {"seeds 1": "KeyError: 'x'"}


def test_the_file_says_the_same_when_it_is_read_and_has_a_line_for_each_claim(tmp_path: Path) -> None:
    chapter = audited.compare(
        {
            "own": result(made("σ > 0", 1 / 3, above=0.0), made("named", "nan", holds=False, below=1.0, often="here")),
            "seeds 1": result(made("σ > 0", 0.5, above=0.0), made("named", 0.5, below=1.0, often="here")),
        }
    )
    file, said = tmp_path / "claims.json", {"own": "as it is", "seeds 1": "moved"}
    audited.write(said, {"one": chapter, "two": chapter}, file)
    assert audited.read(file) == (said, {"one": chapter, "two": chapter})
    lines = file.read_text().splitlines()
    assert sum("σ > 0" in line for line in lines) == 2
    assert audited.read(tmp_path / "nothing.json") == ({}, {})
    summary = "\n".join(audited.summary(said, {"one": chapter}))
    assert "own                  1 of 2 claims hold" in summary
    assert "SHORT  one: named: falls short under own" in summary


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A book of one chapter whose number follows from its seed, and from whether a variable is set."""
    (tmp_path / "book").mkdir()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n  - file: book/dice\n")
    code = """\
import torch
from uqlib.chapters import claim
claim("a draw", torch.rand(1, generator=torch.Generator().manual_seed(0)), above=0, below=1)
claim("threads", torch.get_num_threads(), above=0)"""
    nbformat.write(
        new_notebook(cells=[new_markdown_cell("# Dice", id="a"), new_code_cell(code, id="b")]),
        tmp_path / "book" / "dice.ipynb",
    )
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "TOC", tmp_path / "_toc.yml")
    monkeypatch.setattr(execute, "BUILD", tmp_path / "_build")
    monkeypatch.setattr(audit, "RESULTS", tmp_path / "_build" / "audit")
    monkeypatch.setattr(audited, "FILE", tmp_path / "book" / "claims.json")
    return tmp_path


def test_a_variant_changes_the_run_and_its_result_is_kept(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = execute.digest("dice")
    for variant in ("own", "seeds 1", "SSE, 2 threads"):
        assert f"{variant}: dice: " in audit._run(variant, "dice", audit.key(variant, digest), "a machine")
    audit.merge()
    _, chapters = audited.read(audited.FILE)
    draw, threads = chapters["dice"].claims
    assert draw.values["own"] == draw.values["SSE, 2 threads"] != draw.values["seeds 1"]
    assert threads.values["SSE, 2 threads"] == 2
    audit.run_all(["dice"], ["own", "seeds 1"], jobs=1)
    assert "2 of 2 runs are there; 0 to go" in capsys.readouterr().out
    (book / "uqlib").mkdir()
    (book / "uqlib" / "new.py").write_text("")
    audit.merge()
    assert audited.read(audited.FILE)[1] == chapters, "what was found before is kept until the chapter is run again"


def test_the_run_that_the_book_shows_is_not_made_again(book: Path) -> None:
    shown = execute.execute("dice").metadata["uqlib"]["claims"]
    audit.run_all(["dice"], ["own"], jobs=1)
    kept = json.loads((audit.RESULTS / "own" / "dice.json").read_text(encoding="utf-8"))
    assert kept["claims"] == shown


def test_a_machine_plays_no_processor_that_it_has_not() -> None:
    new = {"ATEN_CPU_CAPABILITY": "avx512"}
    assert audit._cannot(new, ["AVX2", 2, "2.13.0", 0]) == "this processor has AVX2"


def test_the_variants_cover_every_value() -> None:
    sets = list(audit.VARIANTS.values())
    for name, values in {
        "ATEN_CPU_CAPABILITY": {"default", "avx2", "avx512"},
        "MKL_CBWR": {"COMPATIBLE", "AVX2"},
        "UQLIB_THREADS": {"1", "2"},
    }.items():
        assert {each[name] for each in sets if name in each} == values
    assert len({each["UQLIB_SEED_SHIFT"] for each in sets if "UQLIB_SEED_SHIFT" in each}) >= 5
    assert list(audit.SAID) == list(audit.VARIANTS)


_, CHAPTERS = audited.read()


@pytest.mark.parametrize("name", notebooks.chapter_names())
def test_the_audit_is_of_the_present_claims(name: str) -> None:
    made = execute.execute(name).metadata["uqlib"]["claims"]
    said = {tuple(each[key] for key in ("words", "above", "below", "equals", "unit", "often")) for each in made}
    known = {each.name for each in CHAPTERS[name].claims} if name in CHAPTERS else set()
    assert said == known, f"make audit NAME={name}"


@pytest.mark.parametrize("name", notebooks.chapter_names())
def test_every_claim_does_what_its_words_promise(name: str) -> None:
    assert name in CHAPTERS, f"make audit NAME={name}"
    chapter = CHAPTERS[name]
    assert chapter.failures == {}, "no chapter's code fails, whatever the seeds"
    needed = [each for each in audit.VARIANTS if each != "AVX-512, 2 threads"]  # which not every processor can play
    assert [each for each in needed if each not in chapter.variants] == []
    assert {each.words: chapter.broken(each) for each in chapter.claims if chapter.broken(each)} == {}


def test_the_file_is_as_the_program_writes_it(tmp_path: Path) -> None:
    audited.write(*audited.read(), tmp_path / "claims.json")
    assert json.loads(audited.FILE.read_text(encoding="utf-8")), "make audit"
    assert (tmp_path / "claims.json").read_text(encoding="utf-8") == audited.FILE.read_text(encoding="utf-8")
