"""Pages of the reference, made from the package itself: a page a room, and one a module where the room is large.

Read from the source alone: nothing of the package is imported here. Sphinx does that, once, when it reads the pages.
"""

import ast
import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path("book/reference")
FRONT = FOLDER / "uqlib"
LONGEST = 2000
"""Words in the docstrings of a room that still fits on one page; a longer one has a page for each of its modules."""

FRONT_DOOR = """\
What most users need is at the front door: `import uqlib`, then `uqlib.read` and so on. Each name lives in a room
behind it, whose page says more. :doc:`/book/library` shows the rooms.

"""


@cache
def modules(package: Path) -> dict[str, Path]:
    """Dotted name -> file of every module of a package, the package itself among them."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return dict(sorted(found.items()))


def rooms(package: Path) -> list[str]:
    """Names of the rooms, in the order in which the package's docstring names them; those it does not name are last."""
    words = ast.get_docstring(_tree(modules(package)[package.name])) or ""
    found = {name.split(".")[1] for name in modules(package) if "." in name}
    return sorted(found, key=lambda room: (words.find(f"`{room}`") % (len(words) + 1), room))


def layout(package: Path) -> dict[str, list[str]]:
    """Page below the root, without its suffix -> the modules on it, in order; the front door first."""
    found = {FRONT.as_posix(): [package.name]}
    for room in rooms(package):
        inside = [name for name in modules(package) if f"{name}.".startswith(f"{package.name}.{room}.")]
        if sum(_words(modules(package)[name]) for name in inside) <= LONGEST:
            found[f"{FOLDER}/{room.strip('_')}"] = inside
        else:
            found |= {f"{FOLDER}/{name.split('.', 1)[1]}": [name] for name in inside}
    return found


def _words(path: Path) -> int:
    """Words in all docstrings of a file."""
    told = (ast.Module, ast.ClassDef, ast.FunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(_tree(path)) if isinstance(node, told)]
    return sum(len(text.split()) for text in texts)


def pages(package: Path) -> dict[Path, bytes]:
    """Path below the root -> text (reStructuredText) of every page."""
    found = {}
    for page, shown in layout(package).items():
        room = shown[0]
        text = _title(_heading(room), "=") + _directive("automodule", room, "members", "ignore-module-all")
        if room == package.name:
            text = _title("The front door", "=") + FRONT_DOOR + _directive("automodule", room, "no-members")
            names = [
                name for name in exported(package, room) if canonical(package, f"{room}.{name}") != f"{room}.{name}"
            ]
            order = [f"{package.name}.{each}" for each in rooms(package)]
            names.sort(key=lambda name: order.index(".".join(canonical(package, f"{room}.{name}").split(".")[:2])))
            text += "".join(_at_the_door(package, name) for name in names)
        elif exported(package, room):
            text += f"Import from here: {_links(package, room)}\n\n"
        if len(shown) == 1 and room != package.name:
            text += "".join(_signpost(package, name) for name in modules(package) if name.startswith(f"{room}."))
        for name in shown[1:]:
            text += _title(name.removeprefix(f"{package.name}."), "-")
            text += _directive("automodule", name, "members", "ignore-module-all")
        found[Path(f"{page}.rst")] = text.encode()
    found[FOLDER / "names.json"] = json.dumps(aliases(package), indent=0, sort_keys=True).encode()
    return found


def aliases(package: Path) -> dict[str, str]:
    """Full name under which something can be imported, too -> full name where it is defined."""
    every = [f"{module}.{name}" for module in modules(package) for name in _fetched(package, module)]
    homes = {name: canonical(package, name) for name in every}
    return {name: home for name, home in homes.items() if home != name and home.startswith(f"{package.name}.")}


def contents(text: str, package: Path) -> str:
    """The text of `_toc.yml` with the pages of the rooms below that of the front door, if it is listed at all."""
    tree = yaml.safe_load(text)
    entries = [entry for part in tree.get("parts", [tree]) for entry in part.get("chapters", [])]
    for entry in entries:
        if entry["file"] == FRONT.as_posix():
            entry["sections"] = _sections(package)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def listed(text: str) -> bool:
    """Does this `_toc.yml` list the reference?"""
    return f"- file: {FRONT.as_posix()}" in text


def _sections(package: Path) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for page, shown in list(layout(package).items())[1:]:
        room, _, rest = shown[0].split(".", 1)[1].partition(".")
        entry: dict[str, Any] = {"file": page, "title": rest or _short(room)}
        if rest:
            found[room].setdefault("sections", []).append(entry)
        else:
            found[room] = entry
    return list(found.values())


def _short(room: str) -> str:
    return "command line" if room == "__main__" else room


def _heading(module: str) -> str:
    return "The command line" if module.endswith(".__main__") else module


def _title(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n\n"


def _directive(kind: str, name: str, *options: str) -> str:
    return f".. {kind}:: {name}\n{''.join(f'   :{option}:' + chr(10) for option in options)}\n"


def _at_the_door(package: Path, name: str) -> str:
    """An entry of the front door, in full; its address is on the page of its room."""
    home, _, own = canonical(package, f"{package.name}.{name}").rpartition(".")
    kind = {ast.ClassDef: "autoclass", ast.FunctionDef: "autofunction"}.get(
        type(_defined(package, home)[own]), "autodata"
    )
    options = ["no-index", *(["members"] if kind == "autoclass" else [])]
    words = f"It lives in a room behind, as :py:obj:`{home}.{own}`.\n\n"
    return _title(name, "-") + words + _directive(kind, f"{home}.{own}", *options)


def _links(package: Path, module: str) -> str:
    names = [(name, canonical(package, f"{module}.{name}")) for name in exported(package, module)]
    return " · ".join(f":py:obj:`{name} <{home}>`" for name, home in names)


def _signpost(package: Path, module: str) -> str:
    """One line of a large room's page: the way to a module that has a page of its own."""
    words = ast.get_docstring(_tree(modules(package)[module])) or ""
    first = " ".join(words.split("\n\n")[0].split())
    return f":py:mod:`{module}`\n   {first}\n\n"


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _defined(package: Path, module: str) -> dict[str, ast.stmt]:
    """Name -> statement of all that a module defines at its top, private names left out."""
    found: dict[str, ast.stmt] = {}
    for node in _tree(modules(package)[module]).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return {name: node for name, node in found.items() if not name.startswith("_")}


def origins(package: Path, module: str) -> set[str]:
    """Full dotted names of all that a module imports, wherever in its file."""
    plain = [node for node in ast.walk(_tree(modules(package)[module])) if isinstance(node, ast.Import)]
    return {alias.name for node in plain for alias in node.names} | {name for _, name in _taken(package, module)}


@cache
def _fetched(package: Path, module: str) -> dict[str, str]:
    """Name -> full dotted name of all that a module takes from others."""
    return dict(_taken(package, module))


@cache
def _taken(package: Path, module: str) -> list[tuple[str, str]]:
    path = modules(package)[module]
    home = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom):
            base = home[: len(home) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            found += [(alias.asname or alias.name, f"{origin}.{alias.name}") for alias in node.names]
    return found


def exported(package: Path, module: str) -> list[str]:
    """The public names that a room offers: those in `__all__`, else none."""
    for node in _tree(modules(package)[module]).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def defined(package: Path, module: str) -> list[str]:
    """Public functions and classes that a module itself defines."""
    kinds = ast.FunctionDef | ast.ClassDef
    return [name for name, node in _defined(package, module).items() if isinstance(node, kinds)]


def canonical(package: Path, name: str) -> str:
    """Where a name of the package is defined: `uqlib.metrics.mae` is `uqlib.metrics.accuracy.mae`.

    A name that is not one of the package is returned as it is.
    """
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:cut])
        if module in modules(package):
            source = _fetched(package, module).get(parts[cut])
            if source is None or parts[cut] in _defined(package, module) or source == name:
                return name
            return canonical(package, ".".join([source, *parts[cut + 1 :]]))
    return name
