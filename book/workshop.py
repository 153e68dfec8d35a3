"""Pack what a class needs: `make workshop`.

python book/workshop.py              folders and zips under _build/workshop
python book/workshop.py --wheels     with all packages, for a room without network (some 500 MB)

`students` has the chapters without solutions, the library with its data, and the built site where there is one.
`teacher` has the chapters with solutions and the pages on teaching.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import execute
import notebooks
import student

ROOT = notebooks.ROOT
OUT = execute.BUILD / "workshop"
SITE = execute.BUILD / "html"
PAGES = ROOT / "book" / "workshop"
FRONT_ENDS = ("jupyterlab",)
NOT_ON_WINDOWS = ("pyscf", "dftd3", "tblite")  # no builds there; chapters that label while they run stop at that cell
FILES = ("pyproject.toml", "requirements.lock", "LICENSE", "LICENSE.code", "LICENSE.data", "CITATION.cff")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "checkpoints", "*.part", "*.tmp")


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Pack notebooks, library and data for a class.")
    parser.add_argument("--wheels", action="store_true", help="also download all packages for this system and Python")
    arguments = parser.parse_args()
    shutil.rmtree(OUT, ignore_errors=True)
    for folder, with_solutions in ((OUT / "students", False), (OUT / "teacher", True)):
        pack(folder, with_solutions=with_solutions)
    if arguments.wheels and (status := download(OUT / "students")):
        return status
    for name in ("students", "teacher"):
        print(shutil.make_archive(str(OUT / f"uq-workshop-{name}"), "zip", root_dir=OUT, base_dir=name))
    return 0


def pack(folder: Path, *, with_solutions: bool) -> None:
    """Fill a folder that works by itself: the notebooks find `uqlib` beside them."""
    folder.mkdir(parents=True)
    chapters = notebooks.chapter_names()
    for name in chapters:
        content = student.notebook(name, with_solutions=with_solutions)
        (folder / student.file_name(name, chapters)).write_text(content, encoding="utf-8")
    for name in student.PAGES:
        (folder / f"{name}.md").write_text(student.page(name)[1], encoding="utf-8")
    shutil.copytree(ROOT / "uqlib", folder / "uqlib", ignore=LEFT_OUT)
    for name in FILES:
        shutil.copyfile(ROOT / name, folder / name)
    (folder / "requirements.txt").write_text(requirements(), encoding="utf-8")
    shutil.copyfile(PAGES / "README_students.md", folder / "README.md")
    if with_solutions:
        shutil.copytree(PAGES, folder / "teaching", ignore=shutil.ignore_patterns("README_students.md"))
    elif (SITE / "book/index.html").exists():
        shutil.copytree(SITE, folder / "site")


def requirements() -> str:
    """What the notebooks need, pinned as in the lock: the library, its figures and oracles, and JupyterLab.

    Raises:
        ValueError: the lock lacks one of them.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["show"], *extras["oracles"], *FRONT_ENDS]
    pins = dict(
        re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    )
    lines = ["# For the notebooks of this folder. On Linux, --extra-index-url https://download.pytorch.org/whl/cpu"]
    lines += ["# in front of -r takes the small build of torch.", "-c requirements.lock"]
    for text in asked:
        name = re.split(r"[^\w.-]", text)[0].lower()
        if name not in pins:
            raise ValueError(f"requirements.lock has no version of {name}: make lock")
        marker = '; sys_platform != "win32"' if name in NOT_ON_WINDOWS else ""
        lines.append(f"{name}=={pins[name]}{marker}")
    return "\n".join(lines) + "\n"


def download(folder: Path) -> int:
    """Fetch the packages into `wheels`, for the system and the Python that this runs on. Returns pip's exit status.

    What is published as source alone is built here: in the room, without network, pip could not.
    """
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder / "wheels")]
    done = subprocess.run([*command, "-r", "requirements.txt"], cwd=folder, check=False)
    if done.returncode:
        print("pip could not download the packages; without --wheels the rest is made", file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
