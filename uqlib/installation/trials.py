"""What can only be found by doing it: a short training, a view, and what other programs answer."""

from __future__ import annotations

import os
import shutil
import sys
import time
import warnings
from importlib import import_module, metadata
from typing import Any

from uqlib.installation.findings import Finding, error_line

EPOCHS, FEATURES = 40, 16
FORCE_ERROR = (10.0, 60.0)  # meV/Å on the test split of ammonia: 21 to 34 from four seeds, over 800 before training
ORACLES = {
    "pyscf": "labels molecules while a chapter runs (PySCF)",
    "dftd3": "the dispersion in these labels",
    "tblite": "cheap labels in the chapters on ethanol",
}
CP2K = ("cp2k.psmp", "cp2k.popt", "cp2k.ssmp", "cp2k")
FRONT_ENDS = ("google.colab", "Google Colab"), ("VSCODE_PID", "VS Code"), ("JPY_PARENT_PID", "Jupyter")


def training() -> Finding:
    """Train a small network on ammonia and compare its force error with what it must be."""
    start = time.perf_counter()
    try:
        error = force_error()
    except Exception as reason:
        return Finding(
            subject="training",
            state="wrong",
            found=f"could not be tried: {error_line(reason)}",
            remedy="mend what is missing or wrong above, then try again",
        )
    low, high = FORCE_ERROR
    words = f"force error {error:.0f} meV/Å after {time.perf_counter() - start:.0f} s"
    if low <= error <= high:
        return Finding(subject="training", state="ok", found=f"{words}, expected {low:.0f} to {high:.0f}")
    remedy = f"{sys.executable} -m pip install --force-reinstall torch==2.13.0 numpy; if that does not help, report it"
    found = f"{words}, expected {low:.0f} to {high:.0f}: torch computes something else here"
    return Finding(subject="training", state="wrong", found=found, remedy=remedy)


def force_error() -> float:
    """Mean absolute force error on ammonia's test split, meV/Å, of a small network after a short training."""
    from uqlib.networks.evaluation import evaluate
    from uqlib.networks.painn import PaiNN
    from uqlib.networks.training import Settings, train
    from uqlib.structures import datasets

    data = datasets.load("ammonia")
    network = PaiNN(elements=data.elements, features=FEATURES, interactions=2, seed=0)
    settings = Settings(epochs=EPOCHS, learning_rate=5e-3, schedule="cosine")
    trained = train(network, data["train"], data["valid"], seed=0, settings=settings, progress=False)
    found = evaluate(trained.model, data["test"].batch()).forces.double().numpy()
    return 1000 * float(abs(found - data["test"].forces).mean())


def viewer() -> Finding:
    """Make a view of a molecule, as a notebook would show it, and say which front end will."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from ase.build import molecule

            from uqlib.show import viewers

            frames = [molecule("NH3"), molecule("NH3")]
            viewers.show_frames(frames)
            viewers.show_structure(frames[0])
    except Exception as error:
        remedy = "python -m pip install --force-reinstall anywidget ipywidgets nglview==4.0"
        return Finding(subject="viewer", state="wrong", found=f"no view: {error_line(error)}", remedy=remedy)
    return Finding(subject="viewer", state="ok", found=f"views can be made; front end: {front_end()}")


def front_end() -> str:
    """What will show the widgets, as far as a program can tell."""
    for sign, name in FRONT_ENDS:
        if sign in sys.modules or sign in os.environ:
            return name
    for name, words in (("jupyterlab", "JupyterLab"), ("notebook", "Notebook")):
        try:
            return f"{words} {metadata.version(name)}, when it is started"
        except metadata.PackageNotFoundError:
            continue
    return "none found; views are shown by JupyterLab, Notebook, VS Code and Colab"


def oracles() -> list[Finding]:
    """The programs of quantum chemistry; each chapter that wants one says so."""
    found = [_oracle(name, purpose) for name, purpose in ORACLES.items()]
    program = next((path for name in CP2K if (path := shutil.which(name))), None)
    if program:
        return [*found, Finding(subject="CP2K", state="ok", found=program, needed=False)]
    words = "labels for new cells of silica; all chapters run without it"
    remedy = "apt-get install cp2k, or conda install -c conda-forge cp2k"
    return [*found, Finding(subject="CP2K", state="missing", found=words, remedy=remedy, needed=False)]


def _oracle(name: str, purpose: str) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        remedy = f"python -m pip install {name} (on Windows: within WSL, or conda-forge)"
        return Finding(subject=name, state="missing", found=purpose, remedy=remedy, needed=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module(name)
    except Exception as error:
        remedy = f"python -m pip install --force-reinstall --no-deps {name}=={version}"
        words = f"{version} is installed but cannot be imported: {error_line(error)}"
        return Finding(subject=name, state="wrong", found=words, remedy=remedy, needed=False)
    return Finding(subject=name, state="ok", found=f"{version}: {purpose}", needed=False)


def gpu() -> Finding:
    """A graphics processor, which the book never asks for."""
    try:
        torch: Any = import_module("torch")
        if torch.cuda.is_available():
            words = f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}"
        elif torch.backends.mps.is_available():
            words = "Apple's (mps), which the book does not use"
        else:
            words = "none, and none is needed"
    except Exception as error:
        return Finding(subject="GPU", state="wrong", found=f"torch cannot say: {error_line(error)}", needed=False)
    return Finding(subject="GPU", state="ok", found=words, needed=False)
