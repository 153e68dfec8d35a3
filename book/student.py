"""Chapters as notebooks for a class: without solutions, and in Markdown that plain Jupyter shows.

The book's chapters are written for its pages: cross-references, citations and boxes are MyST, which JupyterLab shows as
it stands. Here they become links between the notebooks, names with years, and quotations.
"""

import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import notebooks
from pybtex.database import parse_file

from uqlib.chapters import reading

BOX = re.compile(
    r"^:::\{admonition\} (?P<title>[^\n]*)\n(?::[^\n]*\n)*(?P<body>.*?)^:::[ \t]*$", re.MULTILINE | re.DOTALL
)
BIBLIOGRAPHY = re.compile(r"^```\{bibliography\}.*?^```[ \t]*\n?", re.MULTILINE | re.DOTALL)
PAGES = ("training",)
"""Pages that go along with the notebooks, as Markdown: a class may have no site."""

DOC = re.compile(r"\{doc\}`(?:(?P<words>[^`<]+?)\s*<)?(?P<name>\w+)>?`")
CITE = re.compile(r"\{cite:([tp])\}`([^`]+)`")


def file_name(chapter: str, chapters: Sequence[str]) -> str:
    """Name of a chapter's notebook in the class: numbered, so that a list of files is in order."""
    return f"{chapters.index(chapter) + 1:02}_{chapter}.ipynb"


def notebook(chapter: str, *, with_solutions: bool) -> str:
    """A chapter's notebook (JSON) as the class has it, or the teacher."""
    content = json.loads(notebooks.source(chapter).read_text(encoding="utf-8"))
    if not with_solutions:
        content["cells"] = reading.without_solutions(content["cells"])
    chapters = notebooks.chapter_names()
    for cell in content["cells"]:
        text = reading.text_of(cell)
        cell["source"] = plain(text, chapters) if cell["cell_type"] == "markdown" else text
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def page(name: str) -> tuple[str, str]:
    """Title and Markdown of one of `PAGES`, as the class has it."""
    text = (notebooks.ROOT / f"book/{name}.md").read_text(encoding="utf-8")
    return text.split("\n", 1)[0].removeprefix("# "), plain(text, notebooks.chapter_names())


def plain(text: str, chapters: Sequence[str]) -> str:
    """Markdown without what only the book's pages understand."""
    text = BIBLIOGRAPHY.sub("", text)
    text = BOX.sub(_quoted, text)
    text = DOC.sub(lambda found: _link(found["name"], found["words"], chapters), text)
    return CITE.sub(_cited, text)


def _quoted(found: re.Match[str]) -> str:
    lines = [f"**{found['title'].strip()}**", "", *found["body"].strip("\n").split("\n")]
    return "\n".join(f"> {line}".rstrip() for line in lines) + "\n"


def _link(name: str, words: str | None, chapters: Sequence[str]) -> str:
    if name in PAGES:
        return f"[{words or page(name)[0]}]({name}.md)"
    if name not in chapters:
        return f"“{words or name}” (in the book)"
    return f"[{words or _title(name)}]({file_name(name, chapters)})"


def _cited(found: re.Match[str]) -> str:
    works = [_work(key.strip()) for key in found[2].split(",")]
    if found[1] == "t":
        return ", ".join(f"{who} ({year})" for who, year in works)
    return f"({'; '.join(f'{who}, {year}' for who, year in works)})"


def _work(key: str) -> tuple[str, str]:
    """Authors and year of an entry, whose key in a chapter has the chapter's mark in front."""
    entries: Any = _entries()
    entry = entries[key] if key in entries else entries[key.split("-", 1)[1]]
    names = [
        " ".join(map(str, [*person.rich_prelast_names, *person.rich_last_names])) for person in entry.persons["author"]
    ]
    who = names[0] if len(names) == 1 else " and ".join(names) if len(names) == 2 else f"{names[0]} et al."
    return who, entry.fields["year"]


@cache
def _title(name: str) -> str:
    return notebooks.title(name)


@cache
def _entries() -> Any:
    return parse_file(str(notebooks.ROOT / "book/references.bib")).entries
