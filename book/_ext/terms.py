"""In each chapter, mark the first use of every word of the glossary: it shows its meaning, and leads to the glossary.

The words and their meanings are those of the page `book/glossary`. A word is looked for in running text alone, not in
titles, links, code or formulas; its plural counts as well. The meaning stands in the page itself, so that it is there
without scripts, for keyboards and for screen readers.
"""

import html
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

GLOSSARY = "book/glossary"
SCRIPT, STYLE = "terms.js", "terms.css"
NOT_IN = (nodes.title, nodes.reference, nodes.literal, nodes.literal_block, nodes.math, nodes.raw, nodes.strong)
BOX = re.compile(r'<div class="(quiz|live)"')
NOT_BELOW = ("cell_output", "cell_input", "bibliography", "measured")  # classes: what code shows, what others wrote


def meanings(app: Sphinx) -> dict[str, tuple[str, str]]:
    """Word of the glossary -> (its address on the page, its meaning); empty for a book without a glossary."""
    env: Any = app.env
    if GLOSSARY not in env.all_docs:
        return {}
    if not hasattr(app, "uqlib_meanings"):
        found = {}
        for item in env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
            said = " ".join(part.astext() for part in item.findall(nodes.definition)).replace("\n", " ")
            for term in item.findall(nodes.term):
                found[term.astext()] = (term["ids"][0], said)
        setattr(app, "uqlib_meanings", found)  # noqa: B010 - an attribute that Sphinx does not declare
    return getattr(app, "uqlib_meanings")  # noqa: B009


def pattern(words: list[str]) -> re.Pattern[str]:
    """Finds any of the words, or its plural; of two that begin alike, the longer one. Capital letters do not matter."""
    longest = sorted(words, key=len, reverse=True)
    one = "|".join(re.escape(word) for word in longest)
    return re.compile(rf"(?<![\w-])({one})(s?)(?![\w-])", re.IGNORECASE)


def mark(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Mark the words of one chapter."""
    known = meanings(app) if app.builder.format == "html" and _is_chapter(app, docname) else {}
    left = {word.lower(): address for word, address in known.items()}
    address = app.builder.get_relative_uri(docname, GLOSSARY) if known else ""
    in_box = False  # a question or a live figure, which a script makes buttons of: no link may be in there
    for node in list(doctree.findall(lambda node: isinstance(node, nodes.Text | nodes.raw))):
        if isinstance(node, nodes.raw):
            in_box = (in_box or BOX.search(node.astext()) is not None) and node.astext().strip() != "</div>"
        elif left and not in_box and isinstance(node, nodes.Text) and not _out_of_reach(node):
            _replace(node, left, address)


def _is_chapter(app: Sphinx, docname: str) -> bool:
    return str(app.env.doc2path(docname)).endswith(".ipynb")


def _out_of_reach(text: nodes.Text) -> bool:
    node: Any = text.parent
    inside_paragraph = False
    while node is not None:
        if isinstance(node, NOT_IN) or set(NOT_BELOW) & set(node.get("classes", [])):
            return True
        inside_paragraph = inside_paragraph or isinstance(node, nodes.paragraph)
        node = node.parent
    return not inside_paragraph


def _replace(text: nodes.Text, left: dict[str, tuple[str, str]], page: str) -> None:
    """Put marked words into one stretch of text; each that is marked goes out of `left`, with its other names."""
    whole, made, start = text.astext(), [], 0
    while left:
        found = pattern(list(left)).search(whole, start)
        if not found:
            break
        target, said = left[found[1].lower()]
        for word in [word for word, (other, _) in left.items() if left[word][1] == said]:
            del left[word]
        made += [
            nodes.Text(whole[start : found.start()]),
            nodes.raw("", _html(found[0], target, said, page), format="html"),
        ]
        start = found.end()
    if made:
        text.parent.replace(text, [*made, nodes.Text(whole[start:])])


def _html(word: str, target: str, said: str, page: str) -> str:
    name = f"meaning-{target}"
    link = f'<a class="term" href="{page}#{target}" aria-describedby="{name}">{html.escape(word)}</a>'
    meaning = f'<span class="term-meaning" role="tooltip" id="{name}">{html.escape(said)}</span>'
    return f'<span class="term-place">{link}{meaning}</span>'


def load(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Load script and style on pages with marked words."""
    if 'class="term"' in context.get("body", ""):
        app.add_css_file(f"live/{STYLE}")
        app.add_js_file(f"live/{SCRIPT}", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx; the extension `live` copies the two files."""
    app.connect("doctree-resolved", mark)
    app.connect("html-page-context", load)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
