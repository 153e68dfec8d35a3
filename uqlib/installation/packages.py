"""The packages that `uqlib` needs: there, in a version that will do, and not broken."""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from uqlib.installation.findings import Finding, error_line

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
MODULES = {"scikit-learn": "sklearn"}  # the others are imported by the name of their distribution
TOOLS = {"jupyterlab": "to open the chapters; VS Code does as well"}
FIGURES = "show"  # the extra without which no chapter runs
PIP = "python -m pip install"


def packages() -> Iterator[Finding]:
    """One finding for each package, in the order of `pyproject.toml`, and for JupyterLab."""
    parse = _parser()
    if parse is None:
        found = "needed to compare versions"
        yield Finding(subject="packaging", state="missing", found=found, remedy=f"{PIP} packaging")
        return
    try:
        wanted = requirements()
    except metadata.PackageNotFoundError:
        found = "neither installed nor beside a pyproject.toml, so it does not know what it needs"
        yield Finding(subject="uqlib", state="missing", found=found, remedy=f"{PIP} . in the folder of the book")
        return
    for text in wanted:
        requirement = parse(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": FIGURES}):
            yield package(requirement)
    for name, purpose in TOOLS.items():
        try:
            yield Finding(subject=name, state="ok", found=metadata.version(name), needed=False)
        except metadata.PackageNotFoundError:
            yield Finding(subject=name, state="missing", found=purpose, remedy=f"{PIP} {name}", needed=False)


def requirements() -> list[str]:
    """What `uqlib` and its figures ask for, by the `pyproject.toml` beside it, or as it was installed.

    Raises:
        PackageNotFoundError: neither is there.
    """
    if PROJECT.exists():
        project = tomllib.loads(PROJECT.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == "uqlib":
            return [*project["dependencies"], *project["optional-dependencies"][FIGURES]]
    return metadata.requires("uqlib") or []


def package(requirement: Any) -> Finding:
    """One package: its version against what is asked for, then an import.

    Args:
        requirement: a `packaging.requirements.Requirement`.
    """
    name, asked = requirement.name, str(requirement.specifier)
    remedy = f'{PIP} "{name}{asked}"'
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(subject=name, state="missing", found=f"needed: {asked or 'any version'}", remedy=remedy)
    if not requirement.specifier.contains(version, prereleases=True):  # torch's "2.13.0+cpu" counts as 2.13.0
        return Finding(subject=name, state="wrong", found=f"{version}, needed: {asked}", remedy=remedy)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module(str(MODULES.get(name, name.replace("-", "_"))))
    except Exception as error:  # a broken package may raise anything
        again = f"{PIP} --force-reinstall --no-deps {name}=={version.split('+')[0]}"
        found = f"{version} is installed but cannot be imported: {error_line(error)}"
        return Finding(subject=name, state="wrong", found=found, remedy=again)
    return Finding(subject=name, state="ok", found=f"{version}, needed: {asked or 'any version'}")


def _parser() -> Any:
    """The class that reads a requirement; pip has a copy of its own. None if there is neither."""
    for name in ("packaging.requirements", "pip._vendor.packaging.requirements"):
        try:
            return import_module(name).Requirement
        except ImportError:
            continue
    return None
