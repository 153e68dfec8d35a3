"""The second half of every chapter's set-up cell: finish an installation in Google Colab.

The cell installs `uqlib` there *without* its dependencies, so that pip cannot exchange Colab's own torch or numpy,
which other libraries of that machine are built against. What is then still missing is installed here, with every
distribution that Colab already has held at its version.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import invalidate_caches, metadata
from pathlib import Path

EXTRAS = ("show", "oracles")
"""Extras of `uqlib` that the chapters use besides the library itself."""

WITHOUT_DEPENDENCIES = ("nglview",)
"""Asks for JupyterLab and Notebook, in whose place Colab has a front end of its own."""


def finish_setup() -> None:
    """In Colab, install what `uqlib` lacks and turn on the widget manager; anywhere else, do nothing.

    Raises:
        RuntimeError: pip could not install what is missing; pip's own words are in the message.
    """
    if "google.colab" not in sys.modules:
        return
    installed = {_canonical(d.metadata["Name"]): d.version for d in metadata.distributions() if d.metadata["Name"]}
    wanted = missing(metadata.requires("uqlib") or [], installed)
    if wanted:
        _install(wanted, installed)
        invalidate_caches()
    from google.colab import output  # pyright: ignore[reportMissingImports]  # exists in Colab alone

    output.enable_custom_widget_manager()


def missing(requirements: list[str], installed: Mapping[str, str]) -> list[str]:
    """Requirements of the library and of `EXTRAS` whose distribution is absent.

    One that is present in another version than asked for counts as present: Colab's own torch stays.

    Args:
        requirements: as `importlib.metadata.requires` gives them, for example `"pyscf>=2.9; extra == 'oracles'"`.
        installed: version of each installed distribution, by its canonical name.

    Returns:
        The requirements to hand to pip, without their markers.
    """
    from packaging.requirements import Requirement

    found = []
    for text in requirements:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in ("", *EXTRAS)):
            continue
        if _canonical(requirement.name) not in installed:
            found.append(f"{requirement.name}{requirement.specifier}")
    return found


def _install(wanted: list[str], installed: Mapping[str, str]) -> None:
    lone = [requirement for requirement in wanted if requirement.startswith(WITHOUT_DEPENDENCIES)]
    rest = [requirement for requirement in wanted if requirement not in lone]
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "constraints.txt"
        held.write_text("".join(f"{name}=={version}\n" for name, version in sorted(installed.items())))
        for options, requirements in ((["--constraint", str(held)], rest), (["--no-deps"], lone)):
            if not requirements:
                continue
            command = [sys.executable, "-m", "pip", "install", "--quiet", *options, *requirements]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(
                    f"pip could not install {', '.join(requirements)} beside what this machine has:\n"
                    f"{done.stderr.strip()}\n"
                    "Remedy: start from a fresh runtime (Runtime > Disconnect and delete runtime), this cell first."
                )


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
