"""Re-run the chapters as other machines would, and with other seeds, and see which of their claims hold.

python book/audit.py                      every chapter under every variant; what was run before is not run again
python book/audit.py --only painn         one chapter (may be repeated)
python book/audit.py --variants own "seeds 1"
python book/audit.py --list               what the last audit found: the thinnest margins, what fell short

Each result is saved as it comes, under `_build/audit/`, so that an audit that was interrupted goes on. The sum of them
is `book/claims.json`, which belongs into git.

One machine can play others only in part. It can leave out the instructions that older processors lack, in torch, MKL,
OpenBLAS and numpy, and share a sum out among other numbers of threads. It cannot play a processor of another kind
(ARM), a graphics card, another release of torch, another BLAS library or another compiler.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import as_completed
from datetime import date
from pathlib import Path
from typing import Any

import audited
import execute
import notebooks

from uqlib.common.processes import worker_pool

RESULTS = execute.BUILD / "audit"
ELSEWHERE = notebooks.ROOT / "book" / "elsewhere"

AVX512 = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL"  # names of numpy
SSE = {
    "ATEN_CPU_CAPABILITY": "default",
    "OPENBLAS_CORETYPE": "Prescott",
    "NPY_DISABLE_CPU_FEATURES": f"AVX2 FMA3 {AVX512}",
}
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": AVX512}
ONE = {"UQLIB_THREADS": "1"}
# Several chapters run at a time: threads that wait for each other had better sleep than spin on cores others need.
TWO = {"UQLIB_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
COMPATIBLE, MKL_AVX2 = {"MKL_CBWR": "COMPATIBLE"}, {"MKL_CBWR": "AVX2"}

VARIANTS: dict[str, dict[str, str]] = {
    audited.OWN: {},
    "SSE, 1 thread": {**SSE, **ONE, **COMPATIBLE},
    "SSE, 2 threads": {**SSE, **TWO, **MKL_AVX2},
    "AVX2, 1 thread": {**AVX2, **ONE, **MKL_AVX2},
    "AVX2, 2 threads": {**AVX2, **TWO, **COMPATIBLE},
    "AVX-512, 2 threads": {"ATEN_CPU_CAPABILITY": "avx512", **TWO},
    **{f"seeds {shift}": {"UQLIB_SEED_SHIFT": str(shift)} for shift in range(1, 6)},
}
"""Five numerics, so that each value of each setting occurs at least once, and five sets of seeds."""

SAID = {
    audited.OWN: "as the book is built on the machine of the audit",
    "SSE, 1 thread": "without AVX; MKL_CBWR=COMPATIBLE",
    "SSE, 2 threads": "without AVX in all but MKL; MKL_CBWR=AVX2",
    "AVX2, 1 thread": "without AVX-512; MKL_CBWR=AVX2",
    "AVX2, 2 threads": "without AVX-512; MKL_CBWR=COMPATIBLE",
    "AVX-512, 2 threads": "with AVX-512",
    **{f"seeds {shift}": f"every seed of a chapter moved, by step {shift}" for shift in range(1, 6)},
}

LEVELS = {"default": 0, "avx2": 1, "avx512": 2}
PROBE = """
import json, torch
print(json.dumps([torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), torch.__version__,
                  torch.Generator().manual_seed(0).initial_seed()]))
"""


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Re-run the chapters as other machines would, and with other seeds.")
    parser.add_argument("--only", metavar="CHAPTER", action="append", help="this chapter only; may be repeated")
    parser.add_argument("--variants", metavar="NAME", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--jobs", type=int, default=_cores(), help="chapters at a time (default: as many as cores)")
    parser.add_argument("--list", action="store_true", help="run nothing; tell what the last audit found")
    arguments = parser.parse_args()
    if not arguments.list:
        chapters = arguments.only or notebooks.chapter_names()
        unknown = [name for name in chapters if not notebooks.source(name).exists()]
        if unknown:
            print(f"no chapter {unknown[0]!r}; there are {', '.join(notebooks.chapter_names())}", file=sys.stderr)
            return 2
        run_all(chapters, [name for name in VARIANTS if name in arguments.variants], arguments.jobs)
        merge()
    print("\n".join(audited.summary(*audited.read())))
    return 0


def run_all(chapters: list[str], variants: list[str], jobs: int) -> None:
    """Run what has no result yet, variant by variant; a chapter whose code failed is run again."""
    native = _probe({})
    able = {name: _cannot(VARIANTS[name], native) for name in variants}
    for name in filter(able.get, able):
        print(f"left out: {name} ({able[name]})", flush=True)
    digests = {chapter: execute.digest(chapter) for chapter in chapters}
    keys = {(name, chapter): key(name, digests[chapter]) for name in able if not able[name] for chapter in chapters}
    todo = [each for each in keys if (_load(*each, keys[each]) or {"failed": True})["failed"]]
    print(f"{len(keys) - len(todo)} of {len(keys)} runs are there; {len(todo)} to go, {jobs} at a time", flush=True)
    execute.fonts()  # once, before several runs want them
    machine = f"{_processor()}, {native[0]}, torch {native[2]}, {platform.system()}"
    todo = [each for each in todo if not _taken_from_the_book(*each, keys[each], machine)]
    with worker_pool(jobs) as pool:
        runs = {pool.submit(_run, *each, keys[each], machine): each for each in todo}
        for number, run in enumerate(as_completed(runs), start=1):
            error = run.exception()
            line = f"{': '.join(runs[run])}: could not be run: {error!r}" if error else run.result()
            print(f"[{number}/{len(todo)}] {line}", flush=True)


def _taken_from_the_book(variant: str, chapter: str, key: str, machine: str) -> bool:
    """Save the run that the book shows, if there is one of the present sources and nothing is to be changed in it."""
    if variant != audited.OWN or not execute.is_fresh(chapter):
        return False
    _save(variant, chapter, execute.execute(chapter).metadata["uqlib"], key, machine)
    return True


def _run(variant: str, chapter: str, key: str, machine: str) -> str:
    """One chapter under one variant, saved; says in a line what came of it."""
    return _save(
        variant, chapter, execute.run(chapter, _environment(VARIANTS[variant])).metadata["uqlib"], key, machine
    )


def _save(variant: str, chapter: str, result: dict[str, Any], key: str, machine: str) -> str:
    kept: dict[str, Any] = {name: result.get(name) for name in ("claims", "failed", "seconds")}
    place = RESULTS / variant / f"{chapter}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    content = {"key": key, "machine": machine, "date": date.today().isoformat(), **kept}
    part = place.with_suffix(".part")
    part.write_text(json.dumps(content, ensure_ascii=False, indent=0), encoding="utf-8")
    part.replace(place)
    short = sum(not each["holds"] for each in kept["claims"])
    failed = f", stopped at cell {kept['failed']['cell']}: {kept['failed']['error']}" if kept["failed"] else ""
    return f"{variant}: {chapter}: {kept['seconds']:.0f} s, {len(kept['claims'])} claims, {short} short{failed}"


def key(variant: str, digest: str) -> str:
    """What a result depends on: the chapter with its dependencies, the variant, and how it is brought about."""
    how = (ELSEWHERE / "sitecustomize.py").read_bytes() + json.dumps(VARIANTS[variant]).encode()
    return hashlib.sha256(digest.encode() + how).hexdigest()


def _load(variant: str, chapter: str, key: str) -> dict[str, Any] | None:
    place = RESULTS / variant / f"{chapter}.json"
    content = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    return content if content.get("key") == key else None


def merge() -> None:
    """Bring `book/claims.json` up to the results that belong to the present sources.

    A chapter that has none keeps what it has in the file.
    """
    _, before = audited.read()
    chapters = {}
    for chapter in notebooks.chapter_names():
        digest = execute.digest(chapter)
        found = {variant: _load(variant, chapter, key(variant, digest)) for variant in VARIANTS}
        results = {variant: result for variant, result in found.items() if result is not None}
        if audited.OWN in results:
            chapters[chapter] = audited.compare(results)
        elif chapter in before:
            chapters[chapter] = before[chapter]
    audited.write({name: SAID[name] for name in VARIANTS}, chapters)


def _environment(changes: dict[str, str]) -> dict[str, str]:
    paths = [str(ELSEWHERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**changes, "PYTHONPATH": os.pathsep.join(paths)}


def _probe(changes: dict[str, str]) -> list[Any]:
    """Capability, threads, version and the seed that a generator has when it is given 0, as a variant has them."""
    environment = {**os.environ, **_environment(changes)}
    done = subprocess.run([sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _cannot(changes: dict[str, str], native: list[Any]) -> str:
    """Why this machine cannot play a variant; empty if it can.

    Raises:
        RuntimeError: it should, and the variant has no effect.
    """
    asked = changes.get("ATEN_CPU_CAPABILITY", "default")
    if LEVELS[asked] > LEVELS.get(native[0].lower(), 0):
        return f"this processor has {native[0]}"
    capability, threads, _, seed = _probe(changes)
    moved = bool(int(changes.get("UQLIB_SEED_SHIFT", "0")))
    forced = int(changes["UQLIB_THREADS"]) if "UQLIB_THREADS" in changes else threads
    expected = asked if "ATEN_CPU_CAPABILITY" in changes else native[0].lower()
    if (capability.lower(), threads, seed != 0) != (expected, forced, moved):
        raise RuntimeError(f"{changes} has no effect here: torch has {capability}, {threads} threads, seed {seed}")
    return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
