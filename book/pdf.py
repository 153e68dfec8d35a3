"""The book as one PDF: `make pdf`.

python book/pdf.py     from the built site into _build/pdf/book.pdf

The pages of the site are put one behind another, with still pictures where the site has views and figures that move;
Chromium prints them. Links between pages become links within the PDF; the outline has every heading.
"""

import re
import sys
from pathlib import Path

import execute
import notebooks
import printing
import yaml
from browsing import chromium
from playwright.sync_api import Page

SITE = execute.BUILD / "html"
OUT = execute.BUILD / "pdf"
LEFT_OUT = ("book/reference/", "genindex")  # the reference is looked up, and changes with the library
FOOT = (
    '<div style="width:100%;font:8px sans-serif;color:#555;text-align:center">'
    '<span class="pageNumber"></span> / <span class="totalPages"></span></div>'
)
MARGIN = {"top": "16mm", "bottom": "16mm", "left": "16mm", "right": "16mm"}
PAGES = re.compile(rb"/Type\s*/Page\b(?!s)")


def main() -> int:
    """Make the PDF; returns the exit status."""
    if not (SITE / "book/index.html").exists():
        print("there is no site yet: make book", file=sys.stderr)
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    source = OUT / "book.html"
    parts = contents(notebooks.TOC.read_text(encoding="utf-8"))
    source.write_text(printing.document(SITE, parts), encoding="utf-8")
    try:
        count, missing = make(source, OUT / "book.pdf")
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    for picture in missing:
        print(f"a picture is missing: {picture}", file=sys.stderr)
    print(f"The PDF, {count} pages: {(OUT / 'book.pdf').as_uri()}")
    return 1 if missing else 0


def contents(text: str) -> list[tuple[str, list[str]]]:
    """(caption, pages) of the parts of the book, in order, from the text of `_toc.yml`; the root page comes first."""
    tree = yaml.safe_load(text)
    found: list[tuple[str, list[str]]] = []
    for part in tree.get("parts", [tree]):
        pages = []
        for entry in part.get("chapters", []):
            pages += [entry["file"], *(section["file"] for section in entry.get("sections", []))]
        found.append((part.get("caption", ""), [page for page in pages if not page.startswith(LEFT_OUT)]))
    found[0][1].insert(0, tree["root"])
    return found


def make(source: Path, target: Path) -> tuple[int, list[str]]:
    """Print a document; returns its number of pages, and the pictures that it names and does not have."""
    with chromium() as browser:
        page = browser.new_page()
        page.goto(source.as_uri(), timeout=300_000)
        missing = settle(page)
        page.pdf(
            path=target,
            format="A4",
            margin=MARGIN,  # pyright: ignore[reportArgumentType]
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOT,
            print_background=True,
            tagged=True,
            outline=True,
        )
    return len(PAGES.findall(target.read_bytes())), missing


def settle(page: Page) -> list[str]:
    """Wait for formulas and pictures; returns the addresses of pictures that are not there."""
    page.evaluate("window.MathJax && MathJax.startup ? MathJax.startup.promise : null")
    return page.evaluate(
        """async () => {
            const images = [...document.images];
            await Promise.all(images.map((image) => image.decode().catch(() => null)));
            return images.filter((image) => !image.naturalWidth).map((image) => image.src.slice(0, 200));
        }"""
    )


if __name__ == "__main__":
    sys.exit(main())
