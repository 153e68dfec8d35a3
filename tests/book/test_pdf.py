"""The PDF: every page of the book, every picture, links that lead somewhere, nothing that only moves."""

import re
from pathlib import Path

import notebooks
import pdf
import printing
import pytest
from browsing import chromium
from bs4 import BeautifulSoup

PARTS = pdf.contents(notebooks.TOC.read_text(encoding="utf-8"))
NAMES = [name for _, names in PARTS for name in names]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document of the built site."""
    if not (pdf.SITE / "book/index.html").exists():
        pytest.fail("there is no site: run `make book`")
    place = tmp_path_factory.mktemp("book")
    (place / "html").symlink_to(pdf.SITE)
    (place / "pdf").mkdir()
    path = place / "pdf/book.html"
    path.write_text(printing.document(place / "html", PARTS), encoding="utf-8")
    return path


def test_the_pdf_has_all_pages_and_no_picture_is_missing(source: Path) -> None:
    count, missing = pdf.make(source, source.with_suffix(".pdf"))
    assert missing == []
    assert 10 * len(notebooks.chapter_names()) < count < 450
    found = source.with_suffix(".pdf").read_bytes()
    assert len(re.findall(rb"/Subtype\s*/Image", found)) > 100
    assert b"/Outlines" in found
    assert len(re.findall(rb"/Subtype\s*/Link", found)) > 500


def test_the_document_has_the_chapters_in_order_and_its_links_lead_somewhere(source: Path) -> None:
    soup = BeautifulSoup(source.read_text(encoding="utf-8"), "html.parser")
    titles = [h1.get_text().rstrip("#") for h1 in soup.find_all("h1")]
    chapters = [notebooks.title(name) for name in notebooks.chapter_names()]
    assert [title for title in titles if title in chapters] == chapters
    places = {str(node["id"]) for node in soup.select("[id]")}
    targets = [str(link["href"])[1:] for link in soup.select('a[href^="#"]')]
    assert len(targets) > 300
    assert [each for each in targets if each not in places] == []
    assert not soup.select('a[href$=".html"]:not([href^=http])')


def test_what_moves_on_the_site_stands_still(source: Path) -> None:
    soup = BeautifulSoup(source.read_text(encoding="utf-8"), "html.parser")
    views, figures = soup.select(".uqv-static, .uqv-print"), soup.select(".live")
    assert len(views) > 10
    assert all(view.select_one("img.uqv-still") for view in views)
    assert len(figures) >= 5
    assert all(figure.select_one("img.live-still") for figure in figures)
    assert not soup.select("article script, .uqv-data, [role=radiogroup]")
    assert len(soup.select(".leaves figure")) > 20


def test_an_article_for_print(tmp_path: Path) -> None:
    html = """<article class="bd-article"><h1 id="a">A<a class="headerlink" href="#a">#</a></h1>
      <a href="two.html#b">two</a><a href="gone.html">gone</a><a href="https://example.org">out</a>
      <span class="term-place"><a class="term" href="two.html#t">word</a><span class="term-meaning">m</span></span>
      <details><summary>s</summary>answer</details><img src="../_images/x.png" loading="lazy">
      <div role="radiogroup" aria-label="n"><input><label>1</label><input><label>2</label>
      <div><img src="data:1"><img src="data:2"></div></div></article>"""
    found = printing.article(
        BeautifulSoup(html, "html.parser"), "book/one", ["book/one", "book/two"], tmp_path / "html"
    )
    links = {link.get_text(): link["href"] for link in found.find_all("a")}
    assert links == {"two": "#book-two--b", "out": "https://example.org", "word": "#book-two--t"}
    assert found.select_one("details[open]")
    assert found.h1
    assert found.h1["id"] == "book-one--a"
    assert [str(image["src"]) for image in found.find_all("img")] == ["../html/_images/x.png", "data:1", "data:2"]
    assert [caption.get_text() for caption in found.find_all("figcaption")] == ["n: 1", "n: 2"]
    assert "answer" in found.get_text()


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.html").write_text('<!doctype html><img src="nowhere.png" alt="">')
    with chromium() as browser:
        page = browser.new_page()
        page.goto((tmp_path / "x.html").as_uri())
        assert [Path(each).name for each in pdf.settle(page)] == ["nowhere.png"]


def test_without_a_browser_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("browsing.shutil.which", lambda name: "/nowhere/chromium" if name == "chromium" else None)
    with pytest.raises(RuntimeError, match="playwright install chromium"), chromium():
        pass
