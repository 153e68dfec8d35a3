"""Source code quoted in a chapter at run time, so that what the reader sees is what ran."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Quotation:
    """Python code that a notebook shows with its syntax coloured, and the static page, too."""

    code: str

    def _repr_markdown_(self) -> str:
        fence = "`" * 3
        while fence in self.code:
            fence += "`"
        return f"{fence}python\n{self.code}\n{fence}"

    def __repr__(self) -> str:
        return self.code


def show_source(*objects: Callable[..., Any] | type | property, docstrings: bool = True) -> Quotation:
    """The source of functions, methods, properties or classes, each under a comment that names its file.

    Leave it as the last line of a cell. Methods lose the indentation of their class, which a comment names.
    `docstrings=False` leaves out the docstrings, for places where the text around the quotation says the same.

    Raises:
        TypeError: nothing to quote, a module, or an object whose source Python cannot find, such as an instance.
    """
    if not objects:
        raise TypeError("objects: got none, expected functions, methods, properties or classes")
    pieces, last = [], None
    for thing in objects:
        code, *place = _source(thing, docstrings=docstrings)
        label = ", ".join(word for word in place if word)
        pieces.append(code if place == last else f"# {label}\n{code}")
        last = place
    return Quotation("\n\n".join(pieces))


def _source(thing: Any, *, docstrings: bool) -> tuple[str, str, str]:
    """Dedented source, its file from the package's folder on, and the class that a method belongs to."""
    target: Any = thing.fget if isinstance(thing, property) else thing
    if isinstance(target, ModuleType):
        raise TypeError(f"objects: got the module {target.__name__}, expected functions, methods, properties, classes")
    try:
        code = textwrap.dedent(inspect.getsource(target)).rstrip()
        path = Path(inspect.getsourcefile(target) or "")
    except (TypeError, OSError) as error:
        raise TypeError(
            f"objects: got {thing!r}, expected a function, method, property or class that stands in a file; "
            "of an instance, quote its type"
        ) from error
    package = target.__module__.partition(".")[0]
    parts = path.parts
    file = "/".join(parts[parts.index(package) :]) if package in parts else path.name
    owner = "" if isinstance(target, type) else target.__qualname__.rpartition("<locals>.")[2].rpartition(".")[0]
    return (code if docstrings else _without_docstrings(code)), file, owner


def _without_docstrings(code: str) -> str:
    lines: list[str | None] = list(code.splitlines())
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node):
            first = node.body[0]
            assert first.end_lineno is not None
            start, end = first.lineno - 1, first.end_lineno
            if len(node.body) == 1:  # something must stand there
                lines[start] = " " * first.col_offset + "..."
                start += 1
            elif lines[end] == "":  # the empty line after a class's docstring
                end += 1
            lines[start:end] = [None] * (end - start)
    return "\n".join(line for line in lines if line is not None)
