"""Build the book: execute the chapters (each once per change), then render the site into `_build/html`.

There is always a site. A chapter that a cell stopped is shown up to that cell, and makes the exit status 1; a claim
that falls short here is shown beside its sentence. Both are listed at the end.

python book/build.py                      the whole book
python book/build.py --chapter painn      one chapter executed; the others as they are
python book/build.py --check              are all notebooks in the form they have in git, with claims that count?
python book/build.py --fix                bring them there
python book/build.py --repository URL     set the repository's address everywhere
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import address
import chapter_map
import cheat_sheet
import checks_page
import drawing
import execute
import notebooks
import reference
from filelock import FileLock
from nbformat import NotebookNode

from uqlib.chapters import Claim

ROOT = notebooks.ROOT
SITE = execute.BUILD / "html"
DOCTREES = execute.BUILD / ".doctrees"
SITE_KEY = execute.BUILD / "site.key"
LIBRARY = Path("book/library.md")
NOT_PAGES = {".ipynb", ".py", ".pyc", ".json", ".toml"}  # at the top of book/; folders are copied whole

WHOLE_SITE = (
    "uqlib/chapters/*.toml",
    "_config.yml",
    "_toc.yml",
    "book/_*/**/*",
    "book/*.bib",
    "requirements.lock",
    "uqlib/show/viewer/**/*",
)
"""A change in these may touch every page, and Sphinx does not notice all of them: the site is then rendered anew."""

FRONT_DOOR = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'self'; script-src 'none'">
<title>The book</title>
<link rel="icon" href="_static/logo.svg">
<meta http-equiv="refresh" content="0; url=book/index.html">
<p><a href="book/index.html">The book begins here.</a></p>
</html>
"""


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Execute the chapters and render the book into _build/html.")
    task = parser.add_mutually_exclusive_group()
    task.add_argument("--chapter", metavar="NAME", help="execute this chapter only; render the others as they are")
    task.add_argument("--check", action="store_true", help="check the notebooks' form and their claims")
    task.add_argument("--fix", action="store_true", help="bring the notebooks into that form")
    task.add_argument("--repository", metavar="URL", help="set the address of the book's repository")
    arguments = parser.parse_args()
    if arguments.check:
        return check()
    if arguments.fix:
        return fix()
    if arguments.repository is not None:
        return repository(arguments.repository)
    return build([arguments.chapter] if arguments.chapter else notebooks.chapter_names())


def build(names: list[str]) -> int:
    """Execute the named chapters and render the site."""
    unknown = [name for name in names if not notebooks.source(name).exists()]
    if unknown:
        print(f"no chapter {unknown[0]!r}; there are {', '.join(notebooks.chapter_names())}", file=sys.stderr)
        return 1
    runs = {name: _execute(name) for name in names}
    with FileLock(execute.BUILD / "site.lock"):
        gather()
        status = render()
    if (SITE / "index.html").exists():
        print(f"\nThe book: {(SITE / 'index.html').as_uri()}\nor `make serve`, which also works across a network mount")
    return max(status, report(runs))


def _execute(name: str) -> NotebookNode:
    print(f"{name}: {'unchanged' if execute.is_fresh(name) else 'executing'} ...", flush=True)
    run = execute.execute(name)
    cost = run.metadata["uqlib"]
    print(f"{name}: {cost['seconds']:.0f} s, {cost['peak_mb']} MB at most, {cost['cores']} cores", flush=True)
    return run


def report(runs: dict[str, NotebookNode]) -> int:
    """List the claims that fell short and the chapters that failed; returns the exit status."""
    made = [(name, Claim(**each)) for name, run in runs.items() for each in run.metadata["uqlib"]["claims"]]
    short = [(name, each) for name, each in made if not each.holds]
    if short:
        print(f"\n{len(short)} of {len(made)} claims fall short here; the pages say so beside the sentences:")
        for name, each in short:
            print(f"  {name}: {each}")
    failed = {name: run for name, run in runs.items() if "failed" in run.metadata["uqlib"]}
    if failed:
        print("\nChapters that a cell stopped; their pages end there, and the next build tries again:", file=sys.stderr)
    for name, run in failed.items():
        what = run.metadata["uqlib"]["failed"]
        code = run.cells[what["cell"] - 1].source.strip().split("\n")[0]
        print(f"  {name}, cell {what['cell']} of {what['cells']} ({code}): {what['error']}", file=sys.stderr)
    return 1 if failed else 0


def gather() -> None:
    """Bring `_build/executed` in line with `book/`: the tree that Sphinx reads.

    Only what differs is written, so that Sphinx reads only what changed. A chapter that was never executed is there
    without outputs. The repository's address is put in where the checkout knows it.
    """
    url = notebooks.repository_url()
    wanted = {
        Path(notebooks.CONFIG.name): address.config_with(notebooks.CONFIG.read_text(encoding="utf-8"), url).encode(),
        Path(notebooks.TOC.name): notebooks.TOC.read_bytes(),
        Path("genindex.md"): b"# Index\n",  # Sphinx puts the index in its place; the table of contents wants a file
    }
    for path in sorted((ROOT / "book").rglob("*")):
        relative = path.relative_to(ROOT)
        top = len(relative.parts) == 2
        if path.is_file() and "__pycache__" not in path.parts and not (top and path.suffix in NOT_PAGES):
            wanted[relative] = path.read_bytes()
    runs = {}
    for path in (ROOT / "book").glob("*.ipynb"):
        done = execute.executed_path(path.stem)
        text = (done if done.exists() else path).read_text(encoding="utf-8")
        content = notebooks.with_address(notebooks.with_asides(text, path.stem), url)
        wanted[Path("book") / path.name] = content.encode()
        runs[path.stem] = json.loads(content)["metadata"].get("uqlib", {}).get("claims", [])
    front = Path("book/index.md")
    wanted[front] = address.page_with(wanted[front].decode(), url).encode()
    fillers = {
        checks_page.NAME: lambda text: checks_page.fill(text, runs),
        chapter_map.NAME: chapter_map.fill,
        cheat_sheet.NAME: cheat_sheet.fill,
    }
    for name, fill in fillers.items():
        page = Path("book") / f"{name}.md"
        if page in wanted:
            wanted[page] = fill(wanted[page].decode()).encode()
    wanted |= _reference(notebooks.TOC.read_text(encoding="utf-8"))
    for path in sorted(execute.EXECUTED.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(execute.EXECUTED) not in wanted:
            path.unlink()
    for relative, content in wanted.items():
        target = execute.EXECUTED / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != content:
            target.write_bytes(content)


def _reference(contents: str) -> dict[Path, bytes]:
    """The pages of the library's reference and the table of contents with them, if the table asks for them."""
    if not reference.listed(contents):
        return {}
    package = ROOT / "uqlib"
    built = (ROOT / LIBRARY).read_text(encoding="utf-8")
    return {
        **reference.pages(package),
        LIBRARY: drawing.fill(built, package).encode(),
        Path(notebooks.TOC.name): reference.contents(contents, package).encode(),
    }


def render() -> int:
    """Run Jupyter Book over the gathered tree, warnings as errors; returns its exit status."""
    frame, pages = _digest(ROOT, WHOLE_SITE), _digest(execute.EXECUTED, ("**/*",)) + _digest(ROOT, ("uqlib/**/*.py",))
    before = SITE_KEY.read_text().split() if SITE_KEY.exists() else ["", ""]
    if before == [frame, pages]:
        print("site: unchanged")
        return 0
    if before[0] != frame:
        _forget_site(SITE, DOCTREES)
    start = time.perf_counter()
    command = [Path(sys.executable).with_name("jupyter-book"), "build", execute.EXECUTED, "--path-output", ROOT]
    options = ["-q", "-W", "-n", "--keep-going"]
    paths = [
        str(ROOT),
        *filter(None, [os.environ.get("PYTHONPATH")]),
    ]  # the reference shows the library beside the book
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    whole = [*map(str, command), *options]
    done = subprocess.run(whole, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if SITE.exists():
        # Jupyter Book's own is a bare redirect: a browser that lingers there asks for a favicon.ico that nobody has.
        (SITE / "index.html").write_text(FRONT_DOOR, encoding="utf-8")
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        _forget_site(DOCTREES)  # Sphinx repeats no warning for a page that it has read: the next try starts over
        return done.returncode
    SITE_KEY.write_text(f"{frame} {pages}")
    print(f"site: rendered in {time.perf_counter() - start:.0f} s")
    return 0


def _digest(folder: Path, patterns: tuple[str, ...]) -> str:
    total = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        if path.is_file() and "__pycache__" not in path.parts:
            total.update(f"\n{path.relative_to(folder).as_posix()}\n".encode())
            total.update(path.read_bytes())
    return total.hexdigest()


def _forget_site(*folders: Path) -> None:
    SITE_KEY.unlink(missing_ok=True)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def check() -> int:
    """Report every notebook that is not in its normal form or breaks a rule of claims."""
    bad = {path.name: notebooks.faults(path) for path in sorted((ROOT / "book").glob("*.ipynb"))}
    for name, found in bad.items():
        for fault in found:
            print(f"book/{name}: {fault}", file=sys.stderr)
    return 1 if any(bad.values()) else 0


def fix() -> int:
    """Bring every notebook into its normal form."""
    status = 0
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        try:
            if notebooks.fix(path):
                print(f"book/{path.name}: brought into its normal form")
        except ValueError as error:
            print(f"book/{path.name}: {error}", file=sys.stderr)
            status = 1
    return status


def repository(url: str) -> int:
    """Set the repository's address."""
    try:
        notebooks.set_repository(url)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"the book's repository is {notebooks.repository_url()}; `make book` puts the launch buttons on the pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
