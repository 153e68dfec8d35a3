"""Names of `uqlib` in the code of a page lead to their entries in the reference; colours and copying stay as they are.

`sphinx-codeautolink` does this, too. It parses every finished page anew and writes it again, pages of several megabytes
with their viewers among them; here the code alone is touched, while the page is made.
"""

import ast
import html
import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

NAMES = Path("book/reference/names.json")
BLOCK = re.compile(
    r'(<div class="highlight-(ipython3?|python)\b[^>]*><div class="highlight"><pre>)(.*?)(</pre>)', re.DOTALL
)
TOKEN = re.compile(r'<span class="\w+">([^<]+)</span>|<[^>]*>|([^<]+)')
MAGIC = re.compile(r"^(\s*)[%!].*$", re.MULTILINE)

INSTANCE = "()"  # behind the name of a class: one of its objects


class Names:
    """What the names in the code of one page stand for, in the order in which a reader meets them.

    Args:
        known: full dotted name -> address of its entry.
        aliases: full dotted name -> the one under which the thing is defined.
        classes: those of `known` that are classes.
    """

    def __init__(self, known: dict[str, str], aliases: dict[str, str], classes: set[str]) -> None:
        self.known, self.aliases, self.classes = known, aliases, classes
        self.bound: dict[str, str] = {}

    def find(self, name: str) -> str | None:
        """The name under which something is in the reference, or None."""
        name = name.replace(INSTANCE, "")
        parts = name.split(".")
        for cut in range(len(parts), 0, -1):
            home = self.aliases.get(".".join(parts[:cut]))
            if home:
                name = ".".join([home, *parts[cut:]])
                break
        return name if name in self.known else None

    def links(self, code: str) -> dict[int, str]:
        """Offset of an identifier in the code -> full name of its entry; code that does not parse has none."""
        code = MAGIC.sub(lambda magic: f"{magic[1]}pass".ljust(len(magic[0])), code)
        try:
            tree = ast.parse(code)
        except SyntaxError:
            return {}
        lines = code.split("\n")
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line) + 1)

        def offset(line: int, column: int) -> int:
            return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

        made = {id(call): node for node in ast.walk(tree) if isinstance(node, ast.Assign) for call in node.targets}
        found: dict[int, str] = {}
        for node in sorted(
            ast.walk(tree), key=lambda node: (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))
        ):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._take(node, found, offset, code)
            elif isinstance(node, ast.arg):
                self.bound.pop(node.arg, None)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self._bind(node.id, made.get(id(node)))
            elif isinstance(node, ast.Name | ast.Attribute):
                target = self.find(self._full(node) or "")
                if target:
                    own = node.id if isinstance(node, ast.Name) else node.attr
                    place = offset(node.end_lineno or 1, node.end_col_offset or 0) - len(own)
                    if isinstance(node, ast.Attribute) or INSTANCE not in self.bound[node.id]:
                        found[place] = target
        return found

    def _full(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return self.bound.get(node.id)
        base = self._full(node.value) if isinstance(node, ast.Attribute) else None
        return f"{base}.{node.attr}" if base and isinstance(node, ast.Attribute) else None

    def _bind(self, name: str, assigned: ast.Assign | None) -> None:
        """A variable: one of a class's objects, where it was just made of the class, else nothing that we know."""
        self.bound.pop(name, None)
        if assigned and isinstance(assigned.value, ast.Call):
            target = self.find(self._full(assigned.value.func) or "")
            if target in self.classes:
                self.bound[name] = f"{target}{INSTANCE}"

    def _take(self, node: ast.Import | ast.ImportFrom, found: dict[int, str], offset: Any, code: str) -> None:
        module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
        target = self.find(module)
        if target:
            found[code.index(module, offset(node.lineno, node.col_offset) + len("from"))] = target
        for alias in node.names:
            full = f"{module}.{alias.name}" if module else alias.name
            target = self.find(full)
            if target:
                found[offset(alias.lineno, alias.col_offset)] = target
            if module or alias.asname:
                self.bound[alias.asname or alias.name] = full
            else:
                self.bound[alias.name.split(".")[0]] = alias.name.split(".")[0]


def linked(body: str, names: Names) -> str:
    """The HTML of a page with links around the names in its code."""

    def block(match: re.Match[str]) -> str:
        before = dict(names.bound)
        text = html.unescape(re.sub(r"<[^>]*>", "", match[3]))
        found = names.links(text)
        if match[2] == "python":  # quoted: what it binds is not bound in the chapter
            names.bound = before
        return f"{match[1]}{_wrapped(match[3], found, names.known)}{match[4]}" if found else match[0]

    return BLOCK.sub(block, body)


def _wrapped(code: str, found: dict[int, str], known: dict[str, str]) -> str:
    place, made = 0, []
    for token in TOKEN.finditer(code):
        text = html.unescape(token[1] or token[2] or "")
        target = found.get(place) if token[1] else None
        made.append(
            f'<a class="to-reference" href="{known[target]}" title="{target}">{token[0]}</a>' if target else token[0]
        )
        place += len(text)
    return "".join(made)


def link(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Link the names of one page."""
    path = Path(app.srcdir) / NAMES
    if doctree is None or not path.exists() or not BLOCK.search(context.get("body", "")):
        return
    objects = app.env.domains["py"].objects  # type: ignore[attr-defined]
    known = {
        name: f"{app.builder.get_relative_uri(page, entry.docname)}#{entry.node_id}" for name, entry in objects.items()
    }
    classes = {name for name, entry in objects.items() if entry.objtype in ("class", "exception")}
    aliases = json.loads(path.read_text(encoding="utf-8"))
    context["body"] = linked(context["body"], Names(known, aliases, classes))


def again(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """The pages with code are written anew when the reference has other names, or has them elsewhere."""
    names = {name: entry.docname for name, entry in env.domains["py"].objects.items()}  # type: ignore[attr-defined]
    changed = names != getattr(env, "uqlib_names", names)
    env.uqlib_names = names  # type: ignore[attr-defined]
    return [name for name in env.all_docs if str(env.doc2path(name)).endswith(".ipynb")] if changed else []


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", link)
    app.connect("env-updated", again)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
