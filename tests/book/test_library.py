"""The page of how the library is built is true: its picture, its table, and each thing that it says how to add."""

import re
import subprocess
import sys
from pathlib import Path

import ase.io
import drawing
import pytest
import samples
import test_imports

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "uqlib"
TEXT = (ROOT / "book" / "library.md").read_text(encoding="utf-8")
BLOCKS = {
    place: [body for found, body in re.findall(r"```python\n# (.+)\n((?:.*\n)*?)```", TEXT) if found == place]
    for place in re.findall(r"```python\n# (.+)\n", TEXT)
}
ROOMS = {name for row in test_imports.ROOMS for name in row} - set(drawing.LEFT_OUT)


def drawn(package: Path) -> tuple[set[str], set[tuple[str, str]]]:
    """Boxes and arrows of the picture."""
    picture = drawing.svg(package)
    return set(re.findall(r'data-room="(\w+)"', picture)), set(
        re.findall(r'data-from="(\w+)" data-to="(\w+)"', picture)
    )


def test_the_picture_says_what_the_imports_say() -> None:
    boxes, arrows = drawn(PACKAGE)
    assert boxes == ROOMS
    imports = set()
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        others = {name.split(".")[1] for name in test_imports.imported(path, PACKAGE) if name.startswith("uqlib.")}
        imports |= {(room, other) for other in others & ROOMS if room in ROOMS and room != other}
    assert arrows <= imports
    assert closed(arrows) == closed(imports)


def closed(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """With all that follows from following several."""
    while more := {(a, d) for a, b in pairs for c, d in pairs if b == c} - pairs:
        pairs = pairs | more
    return pairs


def test_every_arrow_points_downwards_and_no_boxes_touch() -> None:
    picture = drawing.svg(PACKAGE)
    boxes = {
        name: (float(x), float(y)) for name, x, y in re.findall(r'data-room="(\w+)" x="(-?\d+)" y="(\d+)"', picture)
    }
    assert all(boxes[a][1] < boxes[b][1] for a, b in drawn(PACKAGE)[1])
    assert all(0 <= x <= drawing.WIDTH - drawing.WIDE for x, _ in boxes.values())
    for one in boxes:
        for other in boxes:
            (x0, y0), (x1, y1) = boxes[one], boxes[other]
            assert one == other or y0 != y1 or abs(x0 - x1) > drawing.WIDE


def test_the_picture_of_another_house(tmp_path: Path) -> None:
    package = tmp_path / "house"
    for room, text in {
        "roof": "import house.hall\nfrom ..cellar import wine",
        "hall": "from house import cellar",
    }.items():
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").write_text(text)
    (package / "cellar.py").write_text("wine = 1")
    (package / "__init__.py").write_text("")
    assert drawn(package) == ({"roof", "hall", "cellar"}, {("roof", "hall"), ("hall", "cellar")})


def test_every_room_has_its_sentence() -> None:
    assert set(re.findall(r"^\| \{doc\}`(\w+) <reference/\1>`", TEXT, re.MULTILINE)) == ROOMS


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A place with the library and its tests, to be changed, and data of somebody."""
    (tmp_path / "uqlib").mkdir()
    for path in PACKAGE.iterdir():
        if path.name not in ("data", "metrics", "methods", "__pycache__"):
            (tmp_path / "uqlib" / path.name).symlink_to(path)
    for room in ("metrics", "methods"):
        for path in (PACKAGE / room).rglob("*.py"):
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    ase.io.write(tmp_path / "mine.xyz", list(samples.dataset({"train": 120}).atoms))
    return tmp_path


def insert(path: Path, before: str, line: str) -> None:
    """Put a line above the only one that begins so."""
    text = path.read_text(encoding="utf-8")
    assert text.count(f"\n{before}") == 1
    path.write_text(text.replace(f"\n{before}", f"\n{line}\n{before}"), encoding="utf-8")


def run(folder: Path, code: str) -> str:
    """What a program prints that imports the library in a folder."""
    done = subprocess.run([sys.executable, "-B", "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_the_page_says_how_to_add_works(copy: Path) -> None:
    """A data set, a potential, a method and a metric in a copy of the library, with the page's own lines."""
    (copy / "uqlib/methods/jury.py").write_text(BLOCKS["uqlib/methods/jury.py"][0], encoding="utf-8")
    rows = dict(
        re.findall(r"^\| `([\w/.]+)`, (?:among the imports|in `METHODS`|in `RECIPES`) \| `(.+?)`", TEXT, re.MULTILINE)
    )
    register = copy / "uqlib/methods/__init__.py"
    insert(register, "from uqlib.methods.llpr import LastLayer", "from uqlib.methods.jury import Jury")
    insert(register, '    "mve": MeanVariance(),', f"    {rows['uqlib/methods/__init__.py']}")
    accuracy = copy / "uqlib/metrics/accuracy.py"
    insert(accuracy, "def rmse(", f"{BLOCKS['uqlib/metrics/accuracy.py'][0]}\n\n")
    line = BLOCKS["uqlib/metrics/suite.py, in METRICS"][0].strip()
    insert(copy / "uqlib/metrics/suite.py", '    "RMSE": Metric(', f"    {line}")
    said = run(
        copy,
        "\n".join(BLOCKS["anywhere"]) + "from dataclasses import replace\n"
        "assert uqlib.methods.__file__.startswith(__import__('os').getcwd())\n"
        "print(prediction.force_uncertainty.isfinite().all().item(), prediction.unit)\n"
        "brief = {'network': {'features': 8}, 'settings': uqlib.Settings(epochs=1), 'weights': (1.0, 2.0)}\n"
        "jury = replace(uqlib.METHODS['jury'], **brief)\n"
        "fitted = jury.fit(data['train'], data['valid'], seed=0, progress=False)\n"
        "fitted.save('jury.uq')\n"
        "found = uqlib.predict(uqlib.load('jury.uq'), data['test'])\n"
        "print((found.force_uncertainty > 0).all().item(), found.unit)\n"
        "wanted = ['MAE', 'median error', 'RMSE']\n"
        "print(uqlib.report(found, data['test'].batch(cutoff=4.0), wanted=wanted, resamples=2))\n",
    )
    assert said.startswith("True nats\nTrue eV/Å\n")
    assert "median error" in said
