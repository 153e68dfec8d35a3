"""The reference holds what the library has; names in code lead there. In the built site, and with made-up packages."""

import html
import json
import re
import runpy
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import reference

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "uqlib"
SITE = ROOT / "_build" / "html"
LINKED = runpy.run_path(str(ROOT / "book/_ext/linked.py"))
DOCSTRINGS = runpy.run_path(str(ROOT / "book/_ext/docstrings.py"))
LONGEST = 4000  # words of a page


class Anchors(HTMLParser):
    """Ids and links of a page, in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.ids.append(found["id"] or "")
        if tag == "a":
            self.links.append((found.get("class") or "", found.get("href") or ""))


@pytest.fixture(scope="module")
def pages() -> dict[str, Anchors]:
    """Name -> contents of the built pages of the reference."""
    found = {path.name: Anchors(path) for path in sorted((SITE / reference.FOLDER).glob("*.html"))}
    assert found, "there is no reference in the site: run `make book`"
    return found


def test_every_module_is_on_exactly_one_page(pages: dict[str, Anchors]) -> None:
    planned = Counter(name for names in reference.layout(PACKAGE).values() for name in names)
    assert planned == Counter(list(reference.modules(PACKAGE)))
    assert set(reference.modules(PACKAGE)) == {
        ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for parts in (path.relative_to(ROOT).with_suffix("").parts for path in PACKAGE.rglob("*.py"))
    }
    built = [name.removeprefix("module-") for page in pages.values() for name in page.ids if name.startswith("module-")]
    assert Counter(built) == planned


def test_every_public_name_is_in_the_reference_once(pages: dict[str, Anchors]) -> None:
    ids = Counter(name for page in pages.values() for name in page.ids)
    rooms = [name for name in reference.modules(PACKAGE) if reference.exported(PACKAGE, name)]
    names = {
        reference.canonical(PACKAGE, f"{room}.{name}") for room in rooms for name in reference.exported(PACKAGE, room)
    }
    names |= {
        f"{module}.{name}" for module in reference.modules(PACKAGE) for name in reference.defined(PACKAGE, module)
    }
    names = {f"module-{name}" if name in reference.modules(PACKAGE) else name for name in names} - {"uqlib.__version__"}
    assert len(rooms) > 8
    assert len(names) > 300
    assert [name for name in sorted(names) if ids[name] != 1] == []
    assert [name for name in ids if re.search(r"\._[a-z]", name)] == [], "private names"


def test_the_front_door_shows_each_of_its_names(pages: dict[str, Anchors]) -> None:
    heads = {name.lower().replace("_", "-") for name in reference.exported(PACKAGE, "uqlib")} - {"--version--"}
    assert heads <= set(pages["uqlib.html"].ids)


def test_pages_are_of_bearable_length(pages: dict[str, Anchors]) -> None:
    for name in pages:
        text = (SITE / reference.FOLDER / name).read_text(encoding="utf-8")
        article = text[text.index("<article") : text.index("</article")]
        assert len(re.sub(r"<[^>]+>", " ", article).split()) <= LONGEST, name


def test_links_inside_the_reference_and_into_it_arrive(pages: dict[str, Anchors]) -> None:
    ids = {name: set(page.ids) for name, page in pages.items()}
    library = Anchors(SITE / "book/library.html")
    links = [link.removeprefix("reference/") for _, link in library.links if link.startswith("reference/")]
    links += [
        link if not link.startswith("#") else name + link
        for name, page in pages.items()
        for kind, link in page.links
        if "internal" in kind or "to-reference" in kind
    ]
    inside = [link.partition("#") for link in links if not link.startswith(("../", "http"))]
    assert len(inside) > 300
    assert [link for link in inside if link[0] not in ids or (link[2] and link[2] not in ids[link[0]])] == []
    sources = {link.partition("#")[0] for page in pages.values() for _, link in page.links if "_modules/" in link}
    assert len(sources) > 50
    assert all((SITE / reference.FOLDER / source).exists() for source in sources)


@pytest.mark.parametrize("chapter", sorted((ROOT / "book").glob("*.ipynb")), ids=lambda path: path.stem)
def test_names_in_a_chapter_lead_to_entries(chapter: Path, pages: dict[str, Anchors]) -> None:
    page = Anchors(SITE / "book" / f"{chapter.stem}.html")
    links = [link for kind, link in page.links if kind == "to-reference"]
    assert len(links) >= 5
    for link in links:
        name, _, place = link.removeprefix("reference/").partition("#")
        assert place in pages[name].ids, link


@pytest.mark.parametrize("chapter", sorted((ROOT / "book").glob("*.ipynb")), ids=lambda path: path.stem)
def test_code_with_links_is_still_the_code(chapter: Path) -> None:
    text = (SITE / "book" / f"{chapter.stem}.html").read_text(encoding="utf-8")
    shown = {html.unescape(re.sub(r"<[^>]+>", "", block[2])).strip() for block in LINKED["BLOCK"].findall(text)}
    cells = json.loads(chapter.read_text(encoding="utf-8"))["cells"]
    code = {"".join(cell["source"]).strip() for cell in cells if cell["cell_type"] == "code" and cell["id"] != "set-up"}
    hidden = {
        "".join(cell["source"]).strip()
        for cell in cells
        if {"remove-cell", "remove-input"} & set(cell["metadata"].get("tags", []))
    }
    assert code - hidden <= shown


def test_the_search_knows_the_names() -> None:
    index = (SITE / "searchindex.js").read_text(encoding="utf-8")
    assert all(name in index for name in ("ideal_spearman", "UncertaintyCalculator", "competing_risks"))


def names(**known: str) -> Any:
    """Names of a page whose reference has these entries."""
    classes = {name for name in known if name.rpartition(".")[2][0].isupper()}
    return LINKED["Names"](
        known, {"lib.room.Thing": "lib.room.file.Thing", "lib.Thing": "lib.room.file.Thing"}, classes
    )


ENTRIES: dict[str, str] = dict.fromkeys(
    ("lib", "lib.room", "lib.room.file.Thing", "lib.room.file.Thing.use", "lib.room.act"), "page.html#entry"
)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from lib.room import Thing as T\nT()", ["lib.room", "Thing", "T"]),
        ("import lib\nlib.Thing()", ["lib", "lib", "Thing"]),
        ("from lib import room\nroom.act(room.other)", ["lib", "room", "room", "act", "room"]),
        ("from lib.room import Thing\nt = Thing()\nt.use(t.none)", ["lib.room", "Thing", "Thing", "use"]),
        ("from lib.room import act\nact = 3\nact", ["lib.room", "act"]),
        ("from lib.room import act\ndef f(act):\n    return act", ["lib.room", "act"]),
        ("# Å\nfrom lib.room import act; 'Å', act", ["lib.room", "act", "act"]),
        ("from other import act\nact()", []),
        ("act()", []),
        ("%pip install lib\nimport lib", ["lib"]),
        ("from lib.room import (", []),
    ],
)
def test_which_names_are_linked(code: str, found: list[str]) -> None:
    places = names(**ENTRIES).links(code)
    said = [re.match(r"[\w.]+", code[place]) and re.match(r"[\w]+(\.\w+)*", code[place:]) for place in sorted(places)]
    assert [word[0].split(".")[0] if word and word[0] not in found else word and word[0] for word in said] == found


def test_a_quoted_block_binds_nothing_and_text_stays() -> None:
    cell = '<div class="highlight-ipython3 notranslate"><div class="highlight"><pre><span></span>{}</pre></div></div>'
    quoted = cell.replace("ipython3", "python").format(
        '<span class="kn">from</span> <span class="nn">lib.room</span> <span class="kn">import</span> '
        '<span class="n">act</span>\n'
    )
    used = cell.format('<span class="n">act</span><span class="p">(</span><span class="s1">&#39;&lt;&#39;</span>)\n')
    body = f"<p>act</p>{quoted}{used}"
    made = LINKED["linked"](body, names(**ENTRIES))
    assert re.sub(r"</?a\b[^>]*>", "", made) == body
    assert made.count("<a ") == 2
    assert made.endswith(used)


def test_a_name_is_followed_to_where_it_is_defined(tmp_path: Path) -> None:
    package = tmp_path / "lib"
    (package / "room").mkdir(parents=True)
    (package / "__init__.py").write_text('from .room import Thing as Best\n__all__ = ["Best"]\n')
    (package / "room" / "__init__.py").write_text("from lib.room.file import Thing\n\n\ndef act() -> None: ...\n")
    (package / "room" / "file.py").write_text("class Thing: ...\n")
    for name in ("lib.Best", "lib.room.Thing", "lib.room.file.Thing"):
        assert reference.canonical(package, name) == "lib.room.file.Thing"
    assert reference.canonical(package, "lib.Best.use") == "lib.room.file.Thing.use"
    assert reference.canonical(package, "lib.room.act") == "lib.room.act"
    assert reference.canonical(package, "other.thing") == "other.thing"
    assert reference.layout(package) == {
        "book/reference/uqlib": ["lib"],
        "book/reference/room": ["lib.room", "lib.room.file"],
    }


def test_contents_get_the_rooms_only_where_the_reference_is_listed() -> None:
    text = "format: jb-book\nroot: book/index\nparts:\n- chapters:\n  - file: book/one\n"
    assert not reference.listed(text)
    whole = f"{text}- caption: Library\n  chapters:\n  - file: book/reference/uqlib\n"
    assert reference.listed(whole)
    made = reference.contents(whole, PACKAGE)
    assert "file: book/reference/prediction\n" in made
    assert made.count("file: ") == 1 + len(reference.layout(PACKAGE))


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (
            ["Text |x|.", "", "    import lib", ""],
            ["Text \\|x\\|.", "", ".. code-block:: python", "", "    import lib", ""],
        ),
        (["* one", "", "    more"], ["* one", "", "    more"]),
        (["Args:", "    x: `|x|`"], ["Args:", "    x: `|x|`"]),
    ],
)
def test_examples_in_docstrings_are_code(lines: list[str], found: list[str]) -> None:
    DOCSTRINGS["mark_examples"](None, "module", "lib", None, None, lines)
    assert lines == found


def test_comments_describe_fields_and_constants() -> None:
    import uqlib.prediction
    import uqlib.structures.units

    fields = DOCSTRINGS["comments"]("uqlib.prediction")
    assert fields["Prediction.forces"] == "(N, 3) eV/Å"
    assert DOCSTRINGS["comments"]("uqlib.structures.units")["KB"]
    assert DOCSTRINGS["escaped"]("a*b of `a*b`, x_") == "a\\*b of `a*b`, x\\_"
    lines = ["What it is."]
    DOCSTRINGS["add_fields"](None, "class", "", uqlib.prediction.Prediction, None, lines)
    assert "    forces: (N, 3) eV/Å" in lines


@pytest.mark.parametrize(
    ("signature", "found"),
    [
        ("(f=<function a.b.silu>, g=<function relu at 0x7f>)", "(f=silu, g=relu)"),
        ("(f=<factory>, g=<torch.optim.Adam object at 0x7f>)", "(f=..., g=...)"),
        ("(path=PosixPath('/home/me/uqlib/data/loops/a.toml'))", "(path='uqlib/data/loops/a.toml')"),
    ],
)
def test_defaults_are_shown_as_one_would_write_them(signature: str, found: str) -> None:
    assert DOCSTRINGS["plain_signature"](None, "function", "", None, None, signature, None) == (found, None)
