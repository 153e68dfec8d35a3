"""The doctor, on a machine that has everything, and on machines that lack something."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest

from uqlib.__main__ import main
from uqlib.installation import Finding, machine, packages, trials

HIDE = "import sys; sys.modules.update(dict.fromkeys({names!r})); "
RUN = "from uqlib.__main__ import main; sys.exit(main(['doctor', '--quick']))"


def doctor(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


def state_of(printed: str, subject: str) -> str:
    line = next(line for line in printed.splitlines() if line[9:].startswith(f"{subject} "))
    return line.split()[0]


def test_a_whole_installation_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--quick"]) == 0
    printed = capsys.readouterr().out
    for subject in ("Python", "threads", "memory", "disk", "torch", "nglview", "viewer", "GPU"):
        assert state_of(printed, subject) == "ok"
    assert "training" not in printed


@pytest.mark.parametrize("name", ["torch", "ase", "anywidget"])
def test_a_hidden_package_is_named_and_the_rest_is_still_looked_at(name: str) -> None:
    done = doctor(HIDE.format(names=[name]) + RUN)
    assert done.returncode == 1
    assert done.stderr == ""
    assert state_of(done.stdout, name) == "wrong"
    assert state_of(done.stdout, "GPU") in ("ok", "wrong")  # the last line is there
    assert "Remedy: python -m pip install --force-reinstall" in done.stdout
    assert "Not ready: " in done.stdout
    assert name in done.stdout.splitlines()[-1]


def test_nothing_heavy_is_imported_before_its_line() -> None:
    heavy = {"torch", "numpy", "scipy", "ase", "matplotlib", "sklearn"}
    code = (
        "import sys\nfrom uqlib import __main__, commands\ncommands.command('doctor')\n"
        "from uqlib.installation import examine\n"
        f"seen = [(f.subject, {heavy!r} & set(sys.modules)) for _, f in zip(range(4), examine())]\n"
        "print(seen[-1])"
    )
    assert doctor(code).stdout.strip() == "('disk', set())"


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are those of Linux")
def test_a_small_limit_of_memory_is_seen() -> None:
    limit = "import sys, resource; resource.setrlimit(resource.RLIMIT_AS, (3_000_000_000,) * 2); "
    done = doctor(limit + RUN)
    assert done.returncode == 1
    assert state_of(done.stdout, "memory") == "wrong"
    assert "limit of the shell" in done.stdout


def test_without_torch_other_commands_point_to_the_doctor() -> None:
    done = doctor(HIDE.format(names=["torch"]) + "from uqlib.__main__ import main; sys.exit(main(['train', '--help']))")
    assert done.returncode == 1
    assert done.stderr.endswith("python -m uqlib doctor\n")
    assert "Traceback" not in done.stderr


def test_a_package_that_is_not_there_is_missing() -> None:
    from packaging.requirements import Requirement

    finding = packages.package(Requirement("no-such-distribution>=2"))
    assert (finding.state, finding.found) == ("missing", "needed: >=2")
    assert finding.remedy == 'python -m pip install "no-such-distribution>=2"'


def test_another_version_than_the_needed_is_wrong() -> None:
    from packaging.requirements import Requirement

    version = metadata.version("tqdm")
    finding = packages.package(Requirement(f"tqdm>{version}"))
    assert finding.state == "wrong"
    assert version in finding.found
    assert f"tqdm>{version}" in finding.remedy
    torch = metadata.version("torch").split("+")[0]  # a build for the processor alone counts as this version
    assert packages.package(Requirement(f"torch=={torch}")).state == "ok"


def test_what_is_needed_is_what_the_project_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"torch", "nglview"} <= {re.split(r"[^\w-]", text)[0] for text in packages.requirements()}
    monkeypatch.setattr(packages, "PROJECT", tmp_path / "pyproject.toml")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\ndependencies = ["nonsense"]\n')
    assert "nonsense" not in packages.requirements()


@pytest.mark.parametrize("asked", ["0", "many", "100000"])
def test_a_number_of_threads_that_cannot_be_is_wrong(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    finding = machine.threads()
    assert finding.state == "wrong"
    assert asked in finding.found
    assert "unset OMP_NUM_THREADS" in finding.remedy


@pytest.mark.parametrize("version", [(3, 9, 1), (3, 15, 0)])
def test_another_python_is_wrong(version: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    finding = machine.python()
    assert finding.state == "wrong"
    assert "3.11 to 3.13" in finding.found


def test_the_limit_of_a_container_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("2000000000\n")
    (tmp_path / "memory.current").write_text("1100000000\n")
    finding = machine.memory()
    assert finding.state == "wrong"
    assert finding.found.startswith("0.9 GB free (limit of the container)")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory().state == "ok"


def test_a_full_disk_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda place: usage(1e12, 1e12, 2e8))
    finding = machine.disk()
    assert (finding.state, "0.2 GB free" in finding.found) == ("wrong", True)


def test_a_folder_that_cannot_be_written_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine.tempfile, "gettempdir", lambda: str(tmp_path / "not there"))
    finding = machine.disk()
    assert finding.state == "wrong"
    assert "TMPDIR" in finding.remedy


def test_the_training_comes_out_as_it_must() -> None:
    finding = trials.training()
    assert finding.state == "ok", finding.found


@pytest.mark.parametrize("error", [900.0, 0.3, float("nan")])
def test_a_training_that_comes_out_otherwise_is_wrong(error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "force_error", lambda: error)
    finding = trials.training()
    assert finding.state == "wrong"
    assert "expected 10 to 60" in finding.found


def test_oracles_that_are_not_there_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "ORACLES", {"no-such-oracle": "labels"})
    monkeypatch.setenv("PATH", "")
    found = trials.oracles()
    assert [finding.state for finding in found] == ["missing", "missing"]
    assert not any(finding.needed for finding in found)
    assert all("(not needed)" in str(finding) and "Remedy: " in str(finding) for finding in found)


def test_what_is_not_needed_leaves_the_exit_status_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lone = Finding(subject="x", state="missing", found="gone", needed=False)
    monkeypatch.setattr("uqlib.commands.doctor.examine", lambda training: [lone])
    assert main(["doctor"]) == 0
    monkeypatch.setattr(
        "uqlib.commands.doctor.examine", lambda training: [Finding(subject="y", state="wrong", found="")]
    )
    assert main(["doctor"]) == 1
    assert "Not ready: y" in capsys.readouterr().out


def test_the_front_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSCODE_PID", "1")
    assert trials.front_end() == "VS Code"


def test_each_finding_that_is_not_well_has_a_remedy_in_whole_words() -> None:
    finding = Finding(subject="a", state="wrong", found="b " * 60, remedy="python -m pip install scikit-learn " * 4)
    lines = str(finding).splitlines()
    assert max(map(len, lines)) <= 100
    assert not any(line.rstrip().endswith("scikit-") for line in lines)
