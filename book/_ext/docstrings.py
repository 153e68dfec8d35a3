"""What Sphinx has to be told of our docstrings: examples, comments behind fields and constants, names in backticks."""

import ast
import inspect
import re
import sys
from functools import cache
from typing import Any

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

SECTION = re.compile(r"^(Args|Attributes):$", re.MULTILINE)
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?")
LONGEST_VALUE = 60  # of a constant: a longer one is not shown


@cache
def comments(module: str) -> dict[str, str]:
    """Name of a constant, or `Class.field` -> the comment behind it, and what goes on in the lines below."""
    lines = inspect.getsource(sys.modules[module]).splitlines()
    found = {}
    for owner, body in _bodies(ast.parse("\n".join(lines))):
        for node in body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name):
                words = _comment(lines, node)
                if words:
                    found[f"{owner}{target.id}"] = words
    return found


def _bodies(tree: ast.Module) -> list[tuple[str, list[ast.stmt]]]:
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return [("", tree.body), *((f"{node.name}.", node.body) for node in classes)]


def _comment(lines: list[str], node: ast.stmt) -> str:
    number, column = (
        (node.end_lineno or 1) - 1,
        len(lines[(node.end_lineno or 1) - 1].encode()[: node.end_col_offset].decode()),
    )
    behind = re.fullmatch(r"[\s,]*#\s*(.+)", lines[number][column:])
    if not behind:
        return ""
    words = [behind[1]]
    for line in lines[number + 1 :]:
        more = re.fullmatch(r"\s{20,}#\s*(.+)", line)  # far to the right: the comment goes on
        if not more:
            break
        words.append(more[1])
    return " ".join(" ".join(words).split())


def escaped(text: str) -> str:
    """A comment as reStructuredText: what is no code means itself."""
    pieces = text.split("`")
    pieces[::2] = [
        re.sub(r"([\\*|]|\w_\b)", lambda found: "".join([*found[0][:-1], "\\", found[0][-1]]), piece)
        for piece in pieces[::2]
    ]
    return "`".join(pieces)


def add_fields(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """List the fields of a class that say in a comment what they hold, shapes and units first."""
    if what not in ("class", "exception") or SECTION.search("\n".join(lines)):
        return
    found: dict[str, str] = {}
    for owner in reversed(thing.__mro__):
        if owner.__module__.startswith("uqlib."):
            mark = f"{owner.__name__}."
            every = comments(owner.__module__).items()
            found |= {key.removeprefix(mark): words for key, words in every if key.startswith(mark)}
    found = {field: words for field, words in found.items() if not field.startswith("_")}
    if found:
        lines += ["", "Args:", *(f"    {field}: {escaped(words)}" for field, words in found.items()), ""]


def show_constant(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """A constant with a comment behind it has been described."""
    module = app.env.temp_data.get("autodoc:module") or ""
    public = not name.startswith("_") and what == "module" and module in sys.modules
    return False if public and name in comments(module) else None


def describe_constant(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """The comment behind a constant and, if it is short, its value."""
    module, _, own = name.rpartition(".")
    if what != "data" or module not in sys.modules:
        return
    if not any(line.strip() for line in lines):
        lines[:] = [escaped(comments(module).get(own, "")), ""]
    value = repr(thing)
    if isinstance(thing, str | int | float | tuple) and len(value) <= LONGEST_VALUE and "`" not in value:
        lines += [f"Its value: ``{value}``", ""]


def mark_examples(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """An indented paragraph of a docstring is code; a bar outside of code is a bar, and no substitution begins."""
    made: list[str] = []
    inside = False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not inside and made and not made[-1].strip():
            before = next((each for each in reversed(made) if each.strip()), "    ")
            if not before.startswith((" ", "*", "-")):
                made += [".. code-block:: python", ""]
                inside = True
        inside = inside and (indented or not line.strip())
        made.append(line if inside else _bars(line))
    lines[:] = made


def _bars(line: str) -> str:
    pieces = line.split("`")
    pieces[::2] = [piece.replace("|", r"\|") for piece in pieces[::2]]
    return "`".join(pieces)


def plain_signature(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Nobody calls a protocol: its made-up arguments say nothing. Defaults are shown as one would write them."""
    if what == "class" and getattr(thing, "_is_protocol", False):
        return None, None
    signature = re.sub(r"<function (?:\w+\.)*(\w+)(?: at 0x\w+)?>", r"\1", signature or "")
    signature = re.sub(r"<factory>|<[\w.]+ object(?: at 0x\w+)?>", "...", signature)
    return re.sub(r"PosixPath\('[^']*?(uqlib/data/[^']*)'\)", r"'\1'", signature) or None, returns


def backticks(
    name: str, rawtext: str, text: str, lineno: int, inliner: Inliner, options: Any = None, content: Any = ()
) -> tuple[list[nodes.Node], list[Any]]:
    """The default role: code, and a link where it is the name of something in the reference."""
    if DOTTED.fullmatch(text):
        return PyXRefRole()("py:obj", rawtext, text.removesuffix("()"), lineno, inliner, options or {}, list(content))
    return [nodes.literal(rawtext, text.replace("\x00", "\\"), classes=["code"])], []


def find_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> nodes.Node | None:
    """Link a name that stands elsewhere in the library: a class by its own name, all else by two parts of its name."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not ("." in target or target[:1].isupper()):
        return None
    domain = env.domains["py"]
    found = [name for name in domain.objects if name.endswith(f".{target}")]  # type: ignore[attr-defined]
    if len(found) != 1:
        return None
    entry = domain.objects[found[0]]  # type: ignore[attr-defined]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, [content], found[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_role("name", backticks)
    app.connect("autodoc-process-docstring", mark_examples, priority=400)
    app.connect("autodoc-process-docstring", add_fields, priority=410)  # before napoleon reads sections
    app.connect("autodoc-process-docstring", describe_constant)
    app.connect("autodoc-skip-member", show_constant)
    app.connect("autodoc-process-signature", plain_signature)
    app.connect("missing-reference", find_name)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
