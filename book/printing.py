"""Pages of the built site as one document for print."""

import posixpath
import re
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag

STYLE = """
@page { size: A4 }
html { font-size: 9.5pt }
body { background: #ffffff; color: #222222 }
article { break-before: page; max-width: none }
article.front { break-before: auto }
h1 { margin-top: 0 }
h2 { font-size: 1.5em; margin-top: 1.2em }
h3 { font-size: 1.2em }
table.sortable button { all: unset; font-weight: bold }
h1, h2, h3 { break-after: avoid }
img, tr, .admonition-title, .quiz, .uqv-still { break-inside: avoid }
img { max-width: 100%; height: auto; max-height: 230mm }
pre { white-space: pre-wrap !important; overflow-wrap: anywhere; font-size: 0.75em !important }
.cell_output pre { font-size: 0.7em !important }
table { font-size: 0.8em; width: 100% }
.checks-table, .pst-scrollable-table-container, .wide { overflow: visible !important }
.checks-table :is(th, td), .checks-table .words { white-space: normal !important; min-width: 0 !important }
.leaves { display: grid; grid-template-columns: 1fr 1fr; gap: 4mm }
.leaves figure { margin: 0; break-inside: avoid }
.leaves figcaption { font-size: 0.8em; text-align: center }
.contents ol { list-style: none; padding-left: 0 }
mjx-container { max-width: 100% }
a.term { color: inherit; text-decoration: none }
"""
FORMULAS = "tex2jax_process|mathjax_process|math|output_area"  # classes, as Sphinx sets them
MATHJAX = f'<script>window.MathJax = {{options: {{processHtmlClass: "{FORMULAS}"}}}}</script>'
GONE = (
    "script, noscript, .headerlink, details.hide, details.checks, .live-controls, .uqv-print style, .term-meaning, "
    "nav.page-toc, button.toggle-button"
)
"""What a print has no use for; folded code is in the chapter's notebook, and every claim of a chapter on the site."""


def document(site: Path, parts: list[tuple[str, list[str]]]) -> str:
    """HTML of the whole book, to lie in a folder beside `site`.

    Args:
        site: folder of the built site, whose pages and pictures are used.
        parts: (caption, pages) in order; a page is its address in the site without `.html`.
    """
    names = [page for _, pages in parts for page in pages]
    loaded = {name: BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser") for name in names}
    articles = {name: article(soup, name, names, site) for name, soup in loaded.items()}
    front, rest = names[0], names[1:]
    index = _contents(parts, articles)
    body = [str(articles[front]), index, *(str(articles[name]) for name in rest)]
    head = loaded[front].title
    title = head.get_text(strip=True) if head else ""
    return (
        f'<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>{title}</title>'
        f"{_styles(loaded, site)}<style>{STYLE}</style>{MATHJAX}"
        f'<script defer src="../{site.name}/_static/mathjax/tex-chtml-full.js"></script></head>'
        f"<body>{''.join(body)}</body></html>"
    )


def article(soup: BeautifulSoup, name: str, names: list[str], site: Path) -> Tag:
    """A page's article with everything that moves made still, and addresses that hold in the whole document."""
    found: Any = soup.select_one("article.bd-article")
    for gone in found.select(GONE):
        gone.decompose()
    for fold in found.select("details"):
        fold["open"] = ""
    for place in found.select(".term-place"):
        place.unwrap()
    for book in found.select('[role="radiogroup"]'):
        _leaves(book, soup)
    for live in found.select(".live"):
        for words in live.find_all("p"):
            words.decompose()
    for picture in found.select("img"):
        picture.attrs.pop("loading", None)
        if not picture["src"].startswith("data:"):
            picture["src"] = (
                f"../{site.name}/{posixpath.normpath(posixpath.join(posixpath.dirname(name), picture['src']))}"
            )
    for node in found.select("[id]:not(.sortable)"):  # a table's own style knows it by its id, which is its own
        node["id"] = anchor(name, node["id"])
    for link in found.select("a[href]"):
        _lead(link, name, names)
    found["id"] = anchor(name, "")
    found["class"] = ["bd-article", "front"] if name == names[0] else ["bd-article"]
    return found


def anchor(page: str, place: str) -> str:
    """Address of a place of a page within the document."""
    return f"{page.replace('/', '-')}--{place}"


def _leaves(book: Any, soup: BeautifulSoup) -> None:
    """All leaves of a flip-book side by side, each with its word below it."""
    words = [label.get_text(strip=True) for label in book.find_all("label")]
    sheet = soup.new_tag("div", attrs={"class": "leaves"})
    for word, picture in zip(words, book.select("img"), strict=True):
        leaf, caption = soup.new_tag("figure"), soup.new_tag("figcaption")
        caption.string = f"{book.get('aria-label', '')}: {word}"
        leaf.extend([picture.extract(), caption])
        sheet.append(leaf)
    book.replace_with(sheet)


def _lead(link: Any, name: str, names: list[str]) -> None:
    """Point a link into the document, leave it to the world, or take it out where its page is not printed."""
    href = link["href"]
    if re.match(r"[a-z]+:", href):
        return
    path, _, place = href.partition("#")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)).removesuffix(".html") if path else name
    if target in names:
        link["href"] = f"#{anchor(target, place)}"
    else:
        link.unwrap()


def _contents(parts: list[tuple[str, list[str]]], articles: dict[str, Tag]) -> str:
    lines = []
    for caption, pages in parts:
        lines += [f"<h3>{caption}</h3>"] if caption else []
        entries = [(page, articles[page].find("h1")) for page in pages]
        links = [f'<li><a href="#{anchor(page, "")}">{h1.get_text()}</a></li>' for page, h1 in entries if h1]
        lines.append(f"<ol>{''.join(links)}</ol>")
    return f'<article class="bd-article contents"><h2>Contents</h2>{"".join(lines)}</article>'


def _styles(loaded: dict[str, BeautifulSoup], site: Path) -> str:
    """All style sheets that the pages name, each once."""
    found: dict[str, None] = {}
    for name, soup in loaded.items():
        for link in soup.select('link[rel="stylesheet"]'):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(name), str(link["href"])))
            found[path] = None
    return "".join(f'<link rel="stylesheet" href="../{site.name}/{path}">' for path in found)
