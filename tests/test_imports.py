"""What stands lower in the library imports nothing that stands higher, and no two modules need each other."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import uqlib

PACKAGE = Path(__file__).resolve().parents[1] / "uqlib"

ROOMS: tuple[tuple[str, ...], ...] = (
    ("common", "metrics"),
    ("structures",),
    ("networks",),
    ("prediction",),
    ("interfaces",),
    ("methods",),
    ("calibration", "dynamics"),
    ("attack", "propagation"),  # attack compares itself with dynamics
    ("oracles",),
    ("active_learning",),
    ("show",),
    ("study", "installation"),
    ("loops",),
    ("commands", "chapters"),
    ("__main__",),
)
"""Rooms of `uqlib` from the lowest to the highest; those in one row are neighbours and leave each other alone."""

STANDARD_OR = {
    "metrics": {"torch"},  # so that they can be lifted out and used anywhere
    "structures.units": set(),
    "chapters.colab": {"google", "packaging"},  # runs before anything else is installed
}
"""Modules that import only the standard library and these."""

TAKE_DATA_ONLY = {"show": (["structures", "units"], ["metrics", "layout"])}
"""Rooms that take arrays and structures and return figures, and what they may import: they know nothing of models."""

EXTRA = {"metatensor", "metatomic"}
"""Packages of the extra `engines`: the module that becomes part of an exported file imports them as it is imported."""

LEVEL = {name: level for level, names in enumerate(ROOMS) for name in names}


def imported(path: Path, package: Path) -> set[str]:
    """Full dotted names of all that a file imports, wherever in the file but for type checkers."""
    home = [package.name, *path.relative_to(package).with_suffix("").parts[:-1]]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = home[: len(home) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{origin}.{alias.name}" for alias in node.names}
    return names


def trespasses(package: Path) -> list[str]:
    """Every import in `package` that the order of the rooms forbids, in words."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[0] in LEVEL:
            complaints = [complaint(parts, name.split(".")) for name in sorted(imported(path, package))]
            found += [f"{'/'.join(parts)} {text}" for text in complaints if text]
        elif parts[0] != "__init__":
            found.append(f"{parts[0]} has no place in the order: add it to ROOMS")
    return found


def complaint(parts: tuple[str, ...], target: list[str]) -> str:
    """What is wrong with the module at `parts` importing `target`; an empty string if nothing is."""
    room = parts[0]
    if target[0] != "uqlib":
        names = [name for name in STANDARD_OR if ".".join(parts) == name or ".".join(parts).startswith(f"{name}.")]
        allowed = STANDARD_OR[names[0]] if names else None
        if allowed is not None and target[0] not in sys.stdlib_module_names | allowed:
            return f"imports {target[0]}, but may import only {allowed or 'nothing'} besides Python's own"
    elif len(target) > 1 and target[1] in LEVEL and target[1] != room:
        if LEVEL[target[1]] >= LEVEL[room]:
            return f"imports {target[1]}, which does not stand lower"
        if room in TAKE_DATA_ONLY and target[1:3] not in TAKE_DATA_ONLY[room]:
            return f"imports {target[1]}, but takes data only"
    elif room == "methods" and target[1] == room and parts[-1] != "__init__" and target[2:3] not in ([], ["shared"]):
        return f"imports {'.'.join(target[2:])}: methods never import each other"
    return ""


def modules(package: Path) -> dict[str, set[str]]:
    """Module -> modules of the package that it imports. A room's `__init__` only gathers names and is left out."""
    paths = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
    names = {".".join([package.name, *path.relative_to(package).with_suffix("").parts]): path for path in paths}
    needs = {}
    for name, path in names.items():
        found = imported(path, package)
        needs[name] = {other for other in names if any(f == other or f.startswith(f"{other}.") for f in found)} - {name}
    return needs


def test_imports_point_downwards() -> None:
    assert trespasses(PACKAGE) == []


def test_no_modules_need_each_other() -> None:
    graphlib.TopologicalSorter(modules(PACKAGE)).prepare()  # raises CycleError, which names the circle


def test_a_circle_is_seen(tmp_path: Path) -> None:
    room = tmp_path / "uqlib" / "networks"
    room.mkdir(parents=True)
    (room / "painn.py").write_text("from uqlib.networks.training import train")
    (room / "training.py").write_text("from uqlib.networks import painn")
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(modules(tmp_path / "uqlib")).prepare()


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("structures/batch.py", "from uqlib.networks.training import fit", "batch imports networks"),
        ("structures/batch.py", "def f():\n    from ..networks import painn", "batch imports networks"),
        ("dynamics/rules.py", "import uqlib.attack", "rules imports attack"),
        ("metrics/ranking.py", "import numpy", "metrics/ranking imports numpy"),
        ("metrics/ranking.py", "from ..structures.units import KCAL", "metrics/ranking imports structures"),
        ("structures/units.py", "import numpy", "structures/units imports numpy"),
        ("methods/gmm.py", "from .ensemble import Ensemble", "methods never import each other"),
        ("methods/gmm.py", "from uqlib.methods import ensemble", "methods never import each other"),
        ("methods/shared/recipes.py", "from uqlib.methods.gmm import A", "methods never import each other"),
        ("show/plots/style.py", "from uqlib.prediction import Prediction", "takes data only"),
        ("helpers.py", "", "no place in the order"),
    ],
)
def test_a_trespass_is_seen(tmp_path: Path, file: str, text: str, words: str) -> None:
    path = tmp_path / "uqlib" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    found = trespasses(tmp_path / "uqlib")
    assert len(found) == 1
    assert words in found[0]


def test_what_may_be_imported_is(tmp_path: Path) -> None:
    package = tmp_path / "uqlib"
    (package / "methods").mkdir(parents=True)
    (package / "methods" / "__init__.py").write_text("from .ensemble import Ensemble")
    (package / "methods" / "ensemble.py").write_text(
        "import torch\nfrom uqlib.methods.shared.recipes import A\nfrom uqlib.structures import units"
    )
    assert trespasses(package) == []


def test_each_room_says_what_it_is_for() -> None:
    for room in LEVEL:
        folder = PACKAGE / room
        if folder.is_dir():
            words = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
            assert words, f"uqlib/{room}/__init__.py has no docstring"


def test_the_front_door_opens_on_every_name_it_lists() -> None:
    assert sorted({*uqlib.ROOM_OF, "__version__"}) == sorted(uqlib.__all__)
    assert all(hasattr(uqlib, name) for name in uqlib.__all__)
    assert set(uqlib.__all__) <= set(dir(uqlib))
    with pytest.raises(AttributeError, match="no attribute 'laod'; it has"):
        uqlib.laod  # noqa: B018


def test_importing_has_no_effect(tmp_path: Path) -> None:
    """No output, no file, no change to torch's settings or to the state of its random numbers."""
    names = sorted(name for name in modules(PACKAGE) if not name.endswith("__main__"))
    script = f"""
import importlib, torch, random, warnings
warnings.simplefilter("ignore")  # other packages' own; ours are errors in every other test
def state():
    return torch.get_default_dtype(), torch.get_num_threads(), torch.random.get_rng_state().tolist(), random.getstate()
before = state()
for name in {names!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in {sorted(EXTRA)!r}:
            raise
assert state() == before
"""
    command = [sys.executable, "-B", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_workers_of_a_training_do_not_carry_what_is_fitted_afterwards(tmp_path: Path) -> None:
    """scikit-learn brings pandas along where there is one: 60 MB for each process, and Binder has 2 GB in all."""
    script = "import sys, uqlib.methods; print(sorted({'sklearn', 'pandas', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_front_door_alone_is_light(tmp_path: Path) -> None:
    """In Colab it is imported before most of what the library needs is installed."""
    script = "import sys, uqlib; print(sorted({'torch', 'ase', 'vesin', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("room", ["oracles", "common.temporary", "common.programs", "commands.doctor"])
def test_workers_that_label_do_not_carry_torch(room: str, tmp_path: Path) -> None:
    """Two labelling workers with torch in each would not fit into the memory that a chapter may take."""
    script = f"import sys, uqlib.{room}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
