"""What stands lower in the library imports nothing that stands higher, and siblings leave each other alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "uqlib"

ORDER: tuple[tuple[str, ...], ...] = (
    ("units", "metrics", "colab", "allocator", "quoting", "processes", "_viewer"),
    ("arrays", "batch", "descriptors", "nff", "storage"),
    ("files", "published"),
    ("datasets",),
    ("painn",),
    ("fast_painn",),
    ("prediction",),
    ("foreign",),
    ("losses", "committee", "last_layer"),
    ("training",),
    ("single",),
    ("likelihoods",),
    ("features",),
    ("methods",),
    ("calibration", "dynamics", "calculator"),
    ("attack",),  # compares itself with dynamics
    ("oracles", "toy", "toy_posterior"),
    ("active_learning",),
    ("plots", "viewers"),
    ("scoring", "baseline", "costs"),
    ("comparison",),
    ("study", "chapters"),
    ("loops",),
    ("__main__",),
)
"""Modules of `uqlib` from the lowest to the highest; those in one row are siblings."""

STANDARD_OR = {
    "metrics": {"torch"},  # so that they can be lifted out and used anywhere
    "units": set(),
    "colab": {"google", "packaging"},  # runs before anything else is installed
}
"""Modules that import only the standard library and these."""

TAKE_DATA_ONLY = {"plots", "viewers"}
"""Take arrays and structures and return figures: they know nothing of models."""

LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}


def imported(path: Path, package: Path) -> set[str]:
    """Full dotted names of all that a file imports, wherever in the file."""
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
    """Every import in `package` that the order forbids, in words."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[0] in LEVEL:
            complaints = [complaint(parts, name.split(".")) for name in sorted(imported(path, package))]
            found += [f"{'/'.join(parts)} {text}" for text in complaints if text]
        elif parts[0] != "__init__":
            found.append(f"{parts[0]} has no place in the order: add it to ORDER")
    return found


def complaint(parts: tuple[str, ...], target: list[str]) -> str:
    """What is wrong with the module at `parts` importing `target`; an empty string if nothing is."""
    module = parts[0]
    if target[0] != "uqlib":
        allowed = STANDARD_OR.get(module)
        if allowed is not None and target[0] not in sys.stdlib_module_names | allowed:
            return f"imports {target[0]}, but may import only {allowed or 'nothing'} besides Python's own"
    elif len(target) > 1 and target[1] in LEVEL and target[1] != module:
        if LEVEL[target[1]] >= LEVEL[module]:
            return f"imports {target[1]}, which does not stand lower"
        if module in TAKE_DATA_ONLY and target[1] not in {"_viewer", "units"}:
            return f"imports {target[1]}, but takes data only"
    elif module == "methods" and target[1:2] == ["methods"] and parts[-1] != "__init__" and len(target) > 2:
        return f"imports {'.'.join(target[2:])}: methods never import each other"
    return ""


def test_imports_point_downwards() -> None:
    assert trespasses(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("batch.py", "from uqlib.training import fit", "batch imports training"),
        ("batch.py", "def f():\n    from . import painn", "batch imports painn"),
        ("dynamics.py", "import uqlib.attack", "dynamics imports attack"),
        ("metrics/ranking.py", "import numpy", "metrics/ranking imports numpy"),
        ("metrics/ranking.py", "from ..units import KCAL", "metrics/ranking imports units"),
        ("methods/gmm.py", "from .ensemble import Ensemble", "methods never import each other"),
        ("methods/gmm.py", "from uqlib.methods import ensemble", "methods never import each other"),
        ("plots/style.py", "from uqlib.prediction import Prediction", "takes data only"),
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
        "import torch\nfrom uqlib.training import fit\nfrom uqlib import units"
    )
    assert trespasses(package) == []


def test_importing_has_no_effect(tmp_path: Path) -> None:
    """No output, no file, no change to torch's settings or to the state of its random numbers."""
    modules = sorted(name for row in ORDER for name in row if name != "__main__")
    present = [name for name in modules if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()]
    script = f"""
import importlib, torch, random, warnings
warnings.simplefilter("ignore")  # other packages' own; ours are errors in every other test
def state():
    return torch.get_default_dtype(), torch.get_num_threads(), torch.random.get_rng_state().tolist(), random.getstate()
before = state()
for name in {present!r}:
    importlib.import_module("uqlib." + name)
assert state() == before
"""
    command = [sys.executable, "-B", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
