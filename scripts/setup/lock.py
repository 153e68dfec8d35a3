"""Resolve `pyproject.toml` into `requirements.lock` and `environment.yml`. Called by `make lock`.

The resolution happens in a fresh virtual environment, so that nothing installed by hand leaks in; nothing is
installed. Local version labels are dropped (`torch==2.13.0`, not `2.13.0+cpu`): which build of a version is taken is
the installing machine's choice, by its pip settings.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
ENVIRONMENT = ROOT / "environment.yml"
CPU_TORCH = "https://download.pytorch.org/whl/cpu"

HELD = ("torch==2.13.0", "jupyter-book==1.0.4.post1", "nglview==4.0")
"""What the book takes exactly, where the library takes a range: its claims were audited with this torch, and its pages
are made for these front ends."""

LOCK_HEADER = """\
# Every package that the book is built and tested with. Made by `make lock` from pyproject.toml; not edited by hand.
# On Linux, PIP_EXTRA_INDEX_URL={url} takes the CPU build of torch.
"""

ENVIRONMENT_HEADER = """\
# For Binder and for conda: what a reader needs to run the chapters, with a torch that fits into 2 GB of memory.
# Made by `make lock` from pyproject.toml and requirements.lock; not edited by hand.
"""


def canonical(name: str) -> str:
    """A distribution's name as package indexes spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def direct_dependencies() -> list[str]:
    """What `uqlib` and its extras `show` and `oracles` ask for by name: what a reader's kernel needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *extras["show"], *extras["oracles"]]
    return [canonical(re.split(r"[^\w.-]", requirement)[0]) for requirement in requirements]


def resolve() -> dict[str, str]:
    """Ask pip, in a fresh environment, for one set of versions that satisfies the extra `test` (it includes all)."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(Path(folder) / "venv", with_pip=True)
        report = Path(folder) / "report.json"
        python = Path(folder) / "venv" / "bin" / "python"
        command = [python, "-m", "pip", "install", "-qq", "--dry-run", "--report", report, f"{ROOT}[test]", *HELD]
        subprocess.run([str(part) for part in command], check=True)
        installs = json.loads(report.read_text(encoding="utf-8"))["install"]
    versions = {canonical(item["metadata"]["name"]): item["metadata"]["version"] for item in installs}
    return {name: version.split("+")[0] for name, version in sorted(versions.items()) if name != "uqlib"}


def read_lock(text: str) -> dict[str, str]:
    """Versions by name from the text of a lock file."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def lock_text(versions: dict[str, str]) -> str:
    """The lock file for these versions."""
    pins = "".join(f"{name}=={version}\n" for name, version in versions.items())
    return LOCK_HEADER.format(url=CPU_TORCH) + pins


def environment_text(versions: dict[str, str], names: list[str]) -> str:
    """`environment.yml` with the named packages at these versions.

    Jupyter itself comes from conda: Binder brings its own, and pinning another beside it would break it.
    """
    pins = "".join(f"      - {name}=={versions[name]}\n" for name in names)
    return (
        ENVIRONMENT_HEADER
        + "name: uqlib\nchannels:\n  - conda-forge\n"
        + "dependencies:\n  - python=3.11\n  - pip\n  - jupyterlab=4\n  - pip:\n"
        + f"      - --extra-index-url {CPU_TORCH}\n{pins}      - --editable .\n"
    )


def main() -> None:
    """Write both files."""
    versions = resolve()
    LOCK.write_text(lock_text(versions), encoding="utf-8")
    ENVIRONMENT.write_text(environment_text(versions, direct_dependencies()), encoding="utf-8")
    print(f"{LOCK.name}: {len(versions)} packages; {ENVIRONMENT.name}: {len(direct_dependencies())}")


if __name__ == "__main__":
    sys.exit(main())
