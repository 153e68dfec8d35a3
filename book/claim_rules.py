"""What a chapter may not do with its claims, found by reading the code of its cells.

An `assert` would stop a reader. A claim needs words that name it, a bound, and a cell whose output is seen, since that
is where the page says that it fell short.
"""

import ast

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

OUT_OF_SIGHT = {"remove-cell", "remove-output", "hide-cell", "hide-output"}
BOUNDS = {"above", "below", "equals"}


def faults(cells: list[NotebookNode]) -> list[str]:
    """Every breach of the rules in a notebook's cells, in words, with the remedy; empty if there is none."""
    found: list[str] = []
    seen: set[str] = set()
    for number, cell in enumerate(cells, start=1):
        if cell.cell_type != "code":
            continue
        try:
            tree = ast.parse(TransformerManager().transform_cell(cell.source))
        except SyntaxError as error:
            found.append(f"cell {number} is not Python: {error.msg}")
            continue
        found += [f"cell {number}: {fault}" for fault in _of_code(tree, seen)]
        hiding = OUT_OF_SIGHT.intersection(cell.metadata.get("tags", []))
        if hiding and _claims(tree):
            found.append(f"cell {number}: the tag {min(hiding)!r} hides what falls short; take 'remove-input'")
    return found


def _of_code(tree: ast.Module, seen: set[str]) -> list[str]:
    found = [
        "`assert` would stop a reader; say it with uqlib.chapters.claim"
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]
    for call in _claims(tree):
        given = {keyword.arg for keyword in call.keywords}
        words = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "words"), None)
        shown = f"claim({ast.unparse(words) if words else ''}, ...)"
        literal = isinstance(words, ast.JoinedStr) or (isinstance(words, ast.Constant) and isinstance(words.value, str))
        if not literal:
            found.append(f"{shown}: the words are a claim's name; write them out in the call")
        if not given & BOUNDS and None not in given:  # None: **options
            found.append(f"{shown} has no bound; give above, below or equals")
        if isinstance(words, ast.Constant) and shown in seen:
            found.append(f"{shown}: an earlier claim of this chapter has the same words; they are its name")
        seen.add(shown)
    return found


def _claims(tree: ast.Module) -> list[ast.Call]:
    """Calls of `claim` and of `module.claim`, in their order."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [call for call in calls if "claim" in (getattr(call.func, "id", ""), getattr(call.func, "attr", ""))]
    return sorted(named, key=lambda call: (call.lineno, call.col_offset))
