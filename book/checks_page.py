"""The tables of the page "What was checked": the last audit, beside the values of the runs that the book shows.

The page's text is `book/what_was_checked.md`. Where it has a comment such as `<!-- the thinnest -->`, a table comes in
its place when the book is built. The tables are HTML, since a claim's words may hold any sign of mark-up.
"""

import html
from collections.abc import Iterable
from typing import Any

import audited
import notebooks

from uqlib.chapters import Claim

NAME = "what_was_checked"
NONE = "<p>No audit belongs to this copy of the book. <code>make audit</code> makes one.</p>"
HEADS = ("claim", "here", "expected", "held", "margin")

Runs = dict[str, list[dict[str, Any]]]
"""The claims that each chapter's run made, by chapter."""


def fill(text: str, runs: Runs) -> str:
    """The page's text with its tables in place."""
    said, chapters = audited.read()
    pieces = {
        "the sum": _sum(chapters, runs),
        "the variants": _variants(said, chapters),
        "the thinnest": _thinnest(chapters, runs),
        "every claim": _every(chapters, runs),
    }
    for name, piece in pieces.items():
        text = text.replace(f"<!-- {name} -->", piece if chapters else NONE)
    return text


def _sum(chapters: dict[str, audited.Chapter], runs: Runs) -> str:
    claims = [(chapter, claim) for chapter in chapters.values() for claim in chapter.claims]
    tried = sum(len(chapter.variants) for chapter, _ in claims)
    held = sum(claim.held(chapter.variants) for chapter, claim in claims)
    kept = sum(not chapter.broken(claim) for chapter, claim in claims)
    short = [(name, Claim(**each)) for name, made in runs.items() for each in made if not each["holds"]]
    machines = dict.fromkeys(f"{chapter.machine} ({chapter.date})" for chapter in chapters.values())
    lines = [
        f"{len(chapters)} chapters make {len(claims)} claims. Each was looked at under every variant that was run:"
        f" {tried} times in all, and {held} times it held. {kept} of {len(claims)} do all that their words promise.",
        f"Audited on: {'; '.join(machines)}.",
        f"In the runs that these pages show, {len(short) or 'none'} of them fell short{':' if short else '.'}",
    ]
    listed = "".join(f"<li>{_link(name)}: {html.escape(str(claim))}</li>" for name, claim in short)
    return "".join(f"<p>{html.escape(line)}</p>\n" for line in lines) + (f"<ul>{listed}</ul>" if short else "")


def _variants(said: dict[str, str], chapters: dict[str, audited.Chapter]) -> str:
    rows = []
    for name, words in said.items():
        there = [chapter for chapter in chapters.values() if name in chapter.variants]
        held = sum(name not in claim.short for chapter in there for claim in chapter.claims)
        count = f"{held} of {sum(len(chapter.claims) for chapter in there)}" if there else "not run"
        rows.append([html.escape(name), _words(words), count])
    return _table(("variant", "what it sets", "claims that held"), rows)


def _thinnest(chapters: dict[str, audited.Chapter], runs: Runs, count: int = 15) -> str:
    found = audited.thinnest(chapters)[:count]
    rows = [[_link(name), *_row(chapters[name], claim, runs.get(name, []))] for _, name, claim in found]
    return _table(("chapter", *HEADS), rows)


def _every(chapters: dict[str, audited.Chapter], runs: Runs) -> str:
    folds = []
    for name, chapter in chapters.items():
        rows = [_row(chapter, claim, runs.get(name, [])) for claim in chapter.claims]
        broken = sum(bool(chapter.broken(claim)) for claim in chapter.claims)
        remark = f", {broken} of them short of what they promise" if broken else ""
        title = f"<summary>{html.escape(_title(name))} <span>({len(rows)} claims{remark})</span></summary>"
        failed = "".join(
            f"<p>Its code failed under {html.escape('; '.join(variants))}: {html.escape(error)}</p>\n"
            for error, variants in _by_error(chapter.failures).items()
        )
        inside = f"<p>{_link(name, 'To the chapter')}</p>\n{failed}{_table(HEADS, rows)}"
        folds.append(f'<details class="checks">{title}\n{inside}</details>')
    return "\n".join(folds)


def _by_error(failures: dict[str, str]) -> dict[str, list[str]]:
    return {each: [name for name, error in failures.items() if error == each] for each in failures.values()}


def _row(chapter: audited.Chapter, claim: audited.Audited, made: list[dict[str, Any]]) -> list[str]:
    """Cells of a claim's row, in the order of `HEADS`."""
    run = next((Claim(**each) for each in made if each["words"] == claim.words), None)
    bounds = {"above": claim.above, "below": claim.below, "equals": claim.equals, "unit": claim.unit}
    expected = Claim(words=claim.words, value=None, holds=True, **bounds).expected.removeprefix("expected ")
    words = claim.words if claim.often == "always" else f"{claim.words} ({claim.often})"
    held = f"{claim.held(chapter.variants)} of {len(chapter.variants)}"
    margin = "–" if claim.margin is None else f"{claim.margin:.1f}".replace("-", "−")
    found = html.escape(run.found) if run else "–"
    return [_words(words), found, html.escape(expected), held, margin]


def _table(heads: Iterable[str], rows: Iterable[list[str]]) -> str:
    """A table that scrolls sideways where the page is narrower."""
    head = "".join(f"<th>{each}</th>" for each in heads)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        '<div class="checks-table" tabindex="0"><table class="table">\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _words(text: str) -> str:
    """Words in a cell that may be broken into lines."""
    return f'<span class="words">{html.escape(text)}</span>'


def _link(name: str, words: str = "") -> str:
    return f'<a class="reference internal words" href="{name}.html">{html.escape(words or _title(name))}</a>'


def _title(name: str) -> str:
    return notebooks.title(name) if notebooks.source(name).exists() else name
