"""Pages to look things up: words, scores, paths. They say what the library and the chapters say."""

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import chapter_map
import cheat_sheet
import drawing
import notebooks
import pytest
import torch
from docutils import nodes
from docutils.utils import new_document

from uqlib import metrics
from uqlib.chapters import reading
from uqlib.metrics import METRICS

BOOK = notebooks.ROOT / "book"
TERMS = runpy.run_path(str(BOOK / "_ext/terms.py"))
SCORES = cheat_sheet.fill((BOOK / "metrics.md").read_text(encoding="utf-8"))
PATHS = chapter_map.fill((BOOK / "paths.md").read_text(encoding="utf-8"))
ORDER = sorted(
    {cheat_sheet.entry_of(name) for name, metric in METRICS.items() if metric.asks == "order" and not metric.simulated}
)


def called(function: str, error: torch.Tensor, std: torch.Tensor) -> float:
    """A score of order of these errors and uncertainties."""
    found: Callable[..., torch.Tensor] = getattr(metrics, function)
    return float(found(error, std, 1.0) if function == "roc_auc" else found(error, std))


def test_every_score_of_the_library_is_on_the_page_and_no_other() -> None:
    spoken_for = {cheat_sheet.entry_of(name) for name in METRICS}
    assert spoken_for == set(cheat_sheet.entries())
    for key, said in cheat_sheet.entries().items():
        assert f"| **{key}** | {said['sees']} | {said['blind']} |" in SCORES
        assert said["function"] in metrics.__all__
        assert SCORES.count(f"{{py:obj}}`{said['function']} <uqlib.metrics.") == 1
    assert "| 0.68, 0.95 |" in SCORES, "best values are the library's own"


def test_a_score_that_the_page_does_not_know_is_named() -> None:
    with pytest.raises(ValueError, match=r"metrics\.toml says nothing of 'a new score'"):
        cheat_sheet.entry_of("a new score")


@pytest.mark.parametrize("key", ORDER)
def test_scores_of_order_are_blind_to_size(key: str) -> None:
    generator = torch.Generator().manual_seed(5)
    std = torch.rand(300, generator=generator, dtype=torch.float64) + 0.1
    error = std * torch.randn(300, generator=generator, dtype=torch.float64)
    function = cheat_sheet.entries()[key]["function"]
    assert "size" in cheat_sheet.entries()[key]["blind"]
    assert called(function, error, 10 * std) == pytest.approx(called(function, error, std), abs=1e-12)
    other = std[torch.randperm(300, generator=generator)]
    assert called(function, error, other) != pytest.approx(called(function, error, std), abs=1e-3)


def test_the_map_shows_what_the_chapters_ask_for() -> None:
    graph = chapter_map.needs()
    assert list(graph) == notebooks.chapter_names()
    assert graph["evidential"] == {"mve"}
    assert graph["why_uncertainty"] == set()
    boxes = set(re.findall(r'data-room="(\w+)"', PATHS))
    assert boxes == set(graph)
    arrows = set(re.findall(r'data-from="(\w+)" data-to="(\w+)"', PATHS))
    assert arrows == set(drawing.arrows(graph))
    assert all(to in graph[start] for start, to in arrows)


def test_boxes_of_the_map_do_not_touch_and_hold_their_words() -> None:
    found = re.findall(r'data-room="\w+" x="(-?\d+)" y="(\d+)".*?<text[^>]*>([^<]+)<', PATHS, re.DOTALL)
    places = [(float(x), float(y)) for x, y, _ in found]
    assert all(0 <= x <= chapter_map.WIDTH - drawing.WIDE for x, _ in places)
    for i, (x, y) in enumerate(places):
        assert all(abs(x - other) >= drawing.WIDE for other, height in places[:i] if height == y)
    assert all(len(words) <= 16 for _, _, words in found)


def test_ways_say_how_long_they_take() -> None:
    way = re.search(r"## I just want error bars(.*?)##", PATHS, re.DOTALL)
    assert way
    names = re.findall(r"^\d\. \{doc\}`(\w+)`", way[1], re.MULTILINE)
    assert len(names) == 5
    cells = [chapter_map._cells(name) for name in names]
    assert f"Reading: about {sum(map(reading.minutes, cells))} min." in way[1]


def test_a_way_through_a_chapter_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no chapter 'nowhere'"):
        chapter_map.fill("<!-- the way: painn, nowhere -->")


def marked(*children: nodes.Node, known: dict[str, tuple[str, str]]) -> str:
    """HTML of what the extension puts into a chapter."""
    document = new_document("x")
    document += nodes.section("", *children)
    builder = SimpleNamespace(format="html", get_relative_uri=lambda here, there: "glossary.html")
    env = SimpleNamespace(doc2path=lambda name: f"{name}.ipynb")
    app: Any = SimpleNamespace(builder=builder, env=env, uqlib_meanings=known)
    env.all_docs = {TERMS["GLOSSARY"]}
    TERMS["mark"](app, document, "book/one")
    return "".join(node.astext() for node in document.findall(nodes.raw))


KNOWN = {
    "ensemble": ("term-e", "Several <networks>"),
    "deep ensemble": ("term-e", "Several <networks>"),
    "DFT": ("d", "D"),
}


def test_a_word_is_marked_once_with_its_plural_and_its_other_names() -> None:
    text = nodes.paragraph("", "Ensembles and a deep ensemble by DFT, DFT and more ensembles.")
    found = marked(nodes.title("", "DFT"), text, known=KNOWN)
    assert re.findall(r'class="term" href="([^"]+)"[^>]*>([^<]+)<', found) == [
        ("glossary.html#term-e", "Ensembles"),
        ("glossary.html#d", "DFT"),
    ]
    assert "Several &lt;networks&gt;" in found


def test_longer_names_come_first_and_parts_of_words_do_not_count() -> None:
    assert ">deep ensemble<" in marked(nodes.paragraph("", "A deep ensemble."), known=KNOWN)
    assert marked(nodes.paragraph("", "DFTB and sub-ensemble and DFT-based."), known=KNOWN) == ""


def test_code_links_titles_and_questions_stay_as_they_are() -> None:
    quiet = [
        nodes.paragraph("", "", nodes.literal("", "DFT"), nodes.reference("", "DFT", refuri="x")),
        nodes.raw("", '<div class="quiz" id="quiz-1">', format="html"),
        nodes.paragraph("", "DFT?"),
        nodes.raw("", "</details>", format="html"),
        nodes.raw("", "</div>", format="html"),
    ]
    assert 'class="term"' not in marked(*quiet, known=KNOWN)
    assert marked(*quiet, nodes.paragraph("", "DFT!"), known=KNOWN).count('class="term"') == 1


def test_words_of_the_glossary_are_used_by_the_chapters() -> None:
    text = (BOOK / "glossary.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```\{glossary\}\n(.*?)```", text, re.DOTALL))
    entries = [entry.split("\n") for entry in blocks.strip().split("\n\n")]
    groups = [[line for line in lines if not line.startswith(" ")] for lines in entries]
    assert len(groups) > 60
    chapters = "\n".join(
        reading.text_of(cell) for name in notebooks.chapter_names() for cell in chapter_map._cells(name)
    )
    unused = [words[0] for words in groups if not any(TERMS["pattern"]([word]).search(chapters) for word in words)]
    assert unused == []


def test_functions_that_pages_name_exist() -> None:
    import uqlib

    for page in ("faq.md", "training.md", "metrics.md"):
        for name in re.findall(r"`uqlib((?:\.\w+)+)", Path(BOOK / page).read_text(encoding="utf-8")):
            found: Any = uqlib
            for part in name[1:].split("."):
                found = getattr(found, part, None) or __import__(f"{found.__name__}.{part}", fromlist=["x"])
