"""What a class gets: notebooks without a solution in them, that run by themselves, and pins from the lock."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import notebooks
import pytest
import student
import workshop
from IPython.core.inputtransformer2 import TransformerManager

from uqlib.chapters import reading
from uqlib.chapters.exercises import exercises

CHAPTERS = notebooks.chapter_names()


def cells_of(name: str) -> list[dict[str, object]]:
    return json.loads(notebooks.source(name).read_text(encoding="utf-8"))["cells"]


def squeezed(text: str) -> str:
    return re.sub(r"[\s>]+", " ", text)


@pytest.mark.parametrize("name", CHAPTERS)
def test_no_solution_is_in_a_students_notebook(name: str) -> None:
    gone = [student.plain(piece, CHAPTERS) for piece in reading.solutions(cells_of(name))]
    assert gone, "the chapter has no solutions: does the rule still find them?"
    cells = json.loads(student.notebook(name, with_solutions=False))["cells"]
    everything = squeezed("\n".join(cell["source"] for cell in cells))
    exercises_part = everything[everything.index("## Exercises") :]
    assert "Solution" not in everything
    for piece in gone:
        assert squeezed(piece).strip() not in everything
        lines = [line for line in piece.splitlines() if len(line) > 40]  # some stand in the chapter's text, too
        assert not any(squeezed(line).strip() in exercises_part for line in lines)


@pytest.mark.parametrize("name", CHAPTERS)
def test_questions_and_starters_stay_and_the_rest_is_as_it_was(name: str) -> None:
    source = cells_of(name)
    kept = json.loads(student.notebook(name, with_solutions=False))
    nbformat.validate(nbformat.from_dict(kept))
    code = "\n".join(cell["source"] for cell in kept["cells"] if cell["cell_type"] == "code")
    for exercise in exercises().values():
        if exercise.chapter == name and exercise.kind != "open":
            assert f'check("{exercise.key}", your_answer)' in code
    heading = next(
        k for k, c in enumerate(source) if c["cell_type"] == "markdown" and "## Exercises" in reading.text_of(c)
    )
    before = [reading.text_of(cell) for cell in source[:heading] if cell["cell_type"] == "code"]
    assert [cell["source"] for cell in kept["cells"] if cell["cell_type"] == "code"][: len(before)] == before
    questions = {n for cell in source for n in re.findall(r"\{admonition\} (\d\. .*)", reading.text_of(cell))}
    text = "\n".join(cell["source"] for cell in kept["cells"])
    assert all(f"**{question.strip()}**" in text for question in questions)


@pytest.mark.parametrize("name", CHAPTERS)
def test_plain_jupyter_understands_it(name: str) -> None:
    for with_solutions in (True, False):
        for cell in json.loads(student.notebook(name, with_solutions=with_solutions))["cells"]:
            if cell["cell_type"] == "markdown":
                assert not re.search(r"^:::|\{(doc|cite:[tp]|bibliography)\}", cell["source"], re.MULTILINE)
            else:
                ast.parse(TransformerManager().transform_cell(cell["source"]))


def test_the_teachers_notebook_has_the_solutions() -> None:
    text = student.notebook("ensembles", with_solutions=True)
    assert text.count("**Solution**") == 3


def test_marks_of_the_book_become_plain_words() -> None:
    text = "See {doc}`painn` and {doc}`five <ensembles>`, {cite:t}`ens-tan2023single`.\n\n"
    text += ":::{admonition} 1. A\n:class: x\nWhat?\n:::\n"
    found = student.plain(text, CHAPTERS)
    assert f"[{notebooks.title('painn')}](02_painn.ipynb)" in found
    assert "[five](06_ensembles.ipynb), Tan et al. (2023)." in found
    assert "> **1. A**\n>\n> What?\n" in found


def test_names_keep_their_accents() -> None:
    assert student.plain("{cite:t}`painn-schutt2021equivariant`", CHAPTERS) == "Schütt et al. (2021)"
    assert student.plain("{cite:p}`why-hullermeier2021aleatoric`", CHAPTERS) == "(Hüllermeier and Waegeman, 2021)"


def test_a_page_that_goes_along_is_a_link() -> None:
    title, text = student.page("training")
    assert student.plain("See {doc}`training`.", CHAPTERS) == f"See [{title}](training.md)."
    assert "{doc}" not in text
    assert "(06_ensembles.ipynb)" in text


def test_a_folder_works_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "html"
    (site / "book").mkdir(parents=True)
    (site / "book/index.html").write_text("the book")
    monkeypatch.setattr(workshop, "SITE", site)
    workshop.pack(tmp_path / "class", with_solutions=False)
    folder = tmp_path / "class"
    assert (folder / "site/book/index.html").read_text() == "the book"
    assert len(list(folder.glob("*.ipynb"))) == len(CHAPTERS)
    assert not (folder / "teaching").exists()
    assert all((folder / f"{name}.md").read_text(encoding="utf-8").startswith("# ") for name in student.PAGES)
    code = (
        "import uqlib; from uqlib.installation.packages import requirements; from uqlib.structures import datasets;"
        "print(uqlib.__file__, len(datasets.load('ammonia')), len(requirements()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env={}, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(folder))
    workshop.pack(tmp_path / "teacher", with_solutions=True)
    assert (tmp_path / "teacher/teaching").is_dir()


BACKEND = """
import zipfile

def build_wheel(folder, settings=None, metadata=None):
    info = "from_source-1.0.dist-info"
    name = "from_source-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("from_source.py", "x = 1")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: from-source\\nVersion: 1.0\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""


def test_a_package_that_is_published_as_source_can_be_installed_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    build = 'requires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (source / "pyproject.toml").write_text(f'[build-system]\n{build}[project]\nname = "from-source"\nversion = "1.0"\n')
    (source / "backend.py").write_text(BACKEND)
    (tmp_path / "requirements.txt").write_text(f"{source}\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert workshop.download(tmp_path) == 0
    assert [path.name for path in (tmp_path / "wheels").iterdir()] == ["from_source-1.0-py3-none-any.whl"]


def test_what_students_install_is_pinned_as_in_the_lock() -> None:
    lock = (notebooks.ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = [line.split(";")[0].strip() for line in workshop.requirements().splitlines() if "==" in line]
    assert "torch==2.13.0" in pins
    assert all(f"\n{pin}\n" in lock for pin in pins)
    assert any(
        line.startswith("pyscf==") and 'sys_platform != "win32"' in line
        for line in workshop.requirements().splitlines()
    )


def test_reading_takes_what_words_and_lines_take() -> None:
    prose = {"cell_type": "markdown", "metadata": {}, "source": ["word " * 1790]}
    code = {"cell_type": "code", "metadata": {"tags": []}, "source": "x = 1\n\n" * 150}
    hidden = {"cell_type": "code", "metadata": {"tags": ["hide-input"]}, "source": "x = 1\n" * 999}
    heading = {"cell_type": "markdown", "metadata": {}, "source": "## Exercises"}
    solution = {"cell_type": "code", "metadata": {"tags": ["hide-cell"]}, "source": "x = 1\n" * 999}
    assert reading.minutes([prose]) == 10
    assert reading.minutes([code]) == 10
    assert reading.minutes([prose, code, hidden, heading, solution]) == 20
