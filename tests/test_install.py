"""The library alone: what its wheel asks for, and that it works beside other versions and without figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from email import message_from_bytes
from importlib import metadata
from pathlib import Path

import ase.io
import pytest
import samples
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
DRAWING = ("matplotlib", "ipywidgets", "anywidget", "traitlets", "nglview", "IPython")
OTHER_NUMPY = "1.26.4"  # the oldest that pyproject.toml allows, and another major version than that of the lock

network = pytest.mark.skipif(
    os.environ.get("CI") != "true" and "UQLIB_NETWORK" not in os.environ,
    reason="downloads packages: asked for by CI=true or UQLIB_NETWORK=1",
)

WORK = """
from uqlib.__main__ import main
train = "train --data mine.xyz --method ensemble --members 2 --epochs 1 --features 8 --out mine.uq".split()
assert main(train) == 0
assert main("predict mine.uq mine.xyz --out predicted.xyz".split()) == 0
import uqlib
data = uqlib.read("mine.xyz")
prediction = uqlib.predict(uqlib.load("mine.uq"), data)
print(uqlib.report(prediction, data.batch()))
"""
"""What must go without the extra: train, score, save, load, predict, from Python and by commands."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a labelled file, far from the checkout."""
    ase.io.write(tmp_path / "mine.xyz", list(samples.dataset({"all": 20}).atoms), format="extxyz")
    return tmp_path


def test_everything_but_figures_goes_without_what_draws_them(home: Path) -> None:
    rooms = [path.name for path in sorted((ROOT / "uqlib").iterdir()) if (path / "__init__.py").exists()]
    script = f"""
import importlib, pkgutil, sys
from importlib.abc import MetaPathFinder
class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {DRAWING!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import uqlib
for room in {[room for room in rooms if room not in ("show", "chapters")]!r}:
    package = importlib.import_module(f"uqlib.{{room}}")
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(found.name)
{WORK}
for name in ("show.plots", "show.viewers", "show.viewer.payload", "chapters.bar"):
    try:
        importlib.import_module(f"uqlib.{{name}}")
    except ImportError as error:
        assert 'pip install "uqlib[show]"' in str(error), error
    else:
        raise AssertionError(name)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (home / "predicted.xyz").exists()


@pytest.mark.parametrize("absent", ["anywidget", "nglview"])
def test_a_viewer_names_its_remedy(absent: str) -> None:
    """Matplotlib alone is enough for figures; the viewers need more, and say what."""
    script = f"""
import sys
sys.modules[{absent!r}] = None
import ase, uqlib.show.plots
try:
    from uqlib.show.viewers import show_structure
    show_structure(ase.Atoms("H"))
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert absent in done.stdout, done.stderr
    assert 'pip install "uqlib[show]"' in done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--wheel-dir", folder, ROOT]
    subprocess.run([str(part) for part in command], check=True)
    (found,) = folder.glob("uqlib-*.whl")
    return found


def requirements(wheel: Path) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        texts = message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []
    return [Requirement(text) for text in texts]


@network
def test_the_wheel_asks_for_ranges_and_draws_nothing(wheel: Path) -> None:
    found = requirements(wheel)
    assert not [str(r) for r in found if any(part.operator in ("==", "===", "~=") for part in r.specifier)]
    hard = {requirement.name for requirement in found if requirement.marker is None}
    assert {"torch", "numpy", "ase"} <= hard
    assert not hard & set(DRAWING)
    shown = {r.name for r in found if r.marker is not None and r.marker.evaluate({"extra": "show"})}
    assert shown >= {"matplotlib", "anywidget", "nglview"}
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "uqlib/data/ammonia/train.xyz" in names
    assert not [name for name in names if name.startswith(("tests/", "book/"))]


@network
def test_it_works_beside_another_numpy(wheel: Path, home: Path) -> None:
    """In a fresh environment: pip brings what the metadata name, but for torch, which is linked from ours."""
    venv.create(home / "venv", with_pip=False, symlinks=True)
    python = home / "venv" / "bin" / "python"
    (site,) = (home / "venv" / "lib").glob("python3*/site-packages")
    hard = [requirement for requirement in requirements(wheel) if requirement.marker is None]
    others = [str(requirement) for requirement in hard if requirement.name != "torch"]
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-qq", "--disable-pip-version-check"]
    for wanted in ([*others, f"numpy=={OTHER_NUMPY}"], ["--no-deps", wheel]):
        subprocess.run([str(part) for part in (*pip, *wanted)], check=True)
    link_with_needs("torch", site)
    script = f"""
import importlib.util, json, numpy
{WORK}
absent = [name for name in {DRAWING!r} if importlib.util.find_spec(name) is None]
print(json.dumps([numpy.__version__, uqlib.__file__, absent]))
from uqlib.show import viewers
"""
    done = subprocess.run([python, "-I", "-c", script], cwd=home, capture_output=True, text=True, check=False)
    assert 'pip install "uqlib[show]"' in done.stderr.splitlines()[-1], done.stderr
    numpy_there, place, absent = json.loads(done.stdout.splitlines()[-1])
    assert numpy_there == OTHER_NUMPY != metadata.version("numpy")
    assert Path(place).is_relative_to(home)
    assert {"anywidget", "nglview"} <= set(absent), "ASE itself brings matplotlib"


def link_with_needs(name: str, site: Path) -> None:
    """Put an installed distribution, and what it needs, into another `site-packages` by links, without a copy."""
    distribution = metadata.distribution(name)
    for place in {path.parts[0] for path in distribution.files or () if path.parts[0] not in ("..", "__pycache__")}:
        if not (site / place).exists():
            (site / place).symlink_to(Path(str(distribution.locate_file(place))).resolve())
    for text in distribution.requires or ():
        need = Requirement(text)
        if (need.marker is None or need.marker.evaluate({"extra": ""})) and not is_there(need.name, site):
            link_with_needs(need.name, site)


def is_there(name: str, site: Path) -> bool:
    canonical = name.lower().replace("-", "_")
    return any(path.name.lower().startswith(f"{canonical}-") for path in site.glob("*.dist-info"))
