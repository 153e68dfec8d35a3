"""What every chapter's notebook looks like in git, and the means to bring it there.

Rules: notebook format 4.5 with cell ids; no outputs, no counters, no metadata but tags and alt texts; first a markdown
cell with the title, then the one set-up cell that is the same in all chapters, with the repository's address from
`_config.yml`.
"""

import hashlib
import json
from pathlib import Path

import address
import asides
import claim_rules
import nbformat
import yaml

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "_config.yml"
TOC = ROOT / "_toc.yml"

SETUP_ID = "set-up"
KEPT_METADATA = ("tags", "mystnb")
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def repository_url() -> str:
    """The book's repository as the pages have it, or an empty string while nobody knows it."""
    return address.configured(CONFIG) or address.of_checkout(ROOT)


def setup_cell() -> str:
    """Source of the set-up cell of every chapter, as it is in git: with the address of `_config.yml`, if any."""
    return address.setup_cell(address.configured(CONFIG))


def with_address(text: str, url: str) -> str:
    """A notebook's text (JSON) with this address in its set-up cell; all else stays as it is."""
    notebook = json.loads(text)
    wanted = address.setup_cell(url).splitlines(keepends=True)
    cells = [cell for cell in notebook["cells"] if cell.get("id") == SETUP_ID and cell["source"] != wanted]
    for cell in cells:
        cell["source"] = wanted
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n" if cells else text


def with_asides(text: str, name: str) -> str:
    """A notebook's text (JSON) with the questions and live figures of `book/asides/<name>.toml`, and no others."""
    return asides.placed(text, ROOT / "book" / "asides", name)


def chapter_names() -> list[str]:
    """Names of the chapters that are notebooks, in the order of `_toc.yml`."""

    def entries(node: object) -> list[str]:
        if isinstance(node, list):
            return [name for item in node for name in entries(item)]
        if isinstance(node, dict):
            own = [node[key] for key in ("root", "file") if key in node]
            return own + [name for value in node.values() for name in entries(value) if not isinstance(value, str)]
        return []

    files = entries(yaml.safe_load(TOC.read_text(encoding="utf-8"))) if TOC.exists() else []
    names = [Path(file).with_suffix("").name for file in files]
    return [name for name in names if source(name).exists()]


def source(name: str) -> Path:
    """Path of a chapter's notebook."""
    return ROOT / "book" / f"{name}.ipynb"


def title(name: str) -> str:
    """A chapter's title: the first line of its first cell."""
    return nbformat.read(source(name), as_version=4).cells[0].source.splitlines()[0].removeprefix("# ")


def normal_form(text: str) -> str:
    """A notebook's text (JSON) as it belongs in git; applied twice it changes nothing more.

    Args:
        text: any notebook of format 4.

    Returns:
        JSON text.

    Raises:
        ValueError: if it does not begin with a markdown cell that holds the title.
    """
    old = nbformat.v4.reads(text)  # not nbformat.reads: it would give cells without an id a random one
    cells = [_cell(cell, number) for number, cell in enumerate(old.cells) if not _is_setup(cell)]
    if not cells or cells[0].cell_type != "markdown" or not cells[0].source.startswith("# "):
        raise ValueError("a chapter begins with a markdown cell whose first line is '# ' and the title")
    setup = nbformat.v4.new_code_cell(setup_cell(), id=SETUP_ID, metadata={"tags": ["hide-input"]})
    seen = {SETUP_ID}
    for number, cell in enumerate(cells):
        while cell.id in seen:  # a copied cell keeps its id
            cell["id"] = _new_id(cell.source, f"{number}{cell.id}")
        seen.add(cell.id)
    new = nbformat.v4.new_notebook(cells=[cells[0], setup, *cells[1:]], metadata=NOTEBOOK_METADATA, nbformat_minor=5)
    return nbformat.writes(new).rstrip("\n") + "\n"


def faults(path: Path) -> list[str]:
    """What is wrong with a notebook, in words, with the remedy; empty if nothing is."""
    text = path.read_text(encoding="utf-8")
    try:
        wanted = normal_form(with_asides(text, path.stem))
    except ValueError as error:
        return [str(error)]
    notebook = nbformat.v4.reads(text)
    return _faults_of_form(notebook, text == wanted) + claim_rules.faults(notebook.cells)


def _faults_of_form(notebook: nbformat.NotebookNode, normal: bool) -> list[str]:
    if normal:
        return []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = []
    if any(cell.outputs or cell.execution_count for cell in code):
        found.append("has outputs or execution counters")
    if len(notebook.cells) < 2 or notebook.cells[1].source != setup_cell():
        found.append("its second cell is not the set-up cell that all chapters share")
    found = found or ["questions, metadata, cell ids or the JSON layout differ from the normal form"]
    return [f"{fault}. Remedy: make format" for fault in found]


def fix(path: Path) -> bool:
    """Bring a notebook into its normal form; tell whether it was changed."""
    text = path.read_text(encoding="utf-8")
    wanted = normal_form(with_asides(text, path.stem))
    if text != wanted:
        path.write_text(wanted, encoding="utf-8")
    return text != wanted


def set_repository(url: str) -> None:
    """Write the repository's address into `_config.yml` and into every chapter's set-up cell.

    Raises:
        ValueError: if the address is not `https://<host>/<owner>/<name>`, or `_config.yml` has no line for it.
    """
    url = address.checked(url)
    CONFIG.write_text(address.config_with(CONFIG.read_text(encoding="utf-8"), url), encoding="utf-8")
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        fix(path)


def _cell(cell: nbformat.NotebookNode, number: int) -> nbformat.NotebookNode:
    source_text = "\n".join(line.rstrip() for line in cell.source.split("\n")).strip("\n")
    if cell.cell_type == "code":
        new = nbformat.v4.new_code_cell(source_text)
    elif cell.cell_type == "markdown":
        new = nbformat.v4.new_markdown_cell(cell.source.strip("\n"))
    else:
        new = nbformat.v4.new_raw_cell(source_text)
    new["id"] = cell.get("id") or _new_id(cell.source, str(number))
    new["metadata"] = {key: cell.metadata[key] for key in KEPT_METADATA if key in cell.metadata}
    return new


def _new_id(text: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}\n{text}".encode()).hexdigest()[:8]


def _is_setup(cell: nbformat.NotebookNode) -> bool:
    return cell.get("id") == SETUP_ID or (cell.cell_type == "code" and "uqlib.chapters.colab" in cell.source)
