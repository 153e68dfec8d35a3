"""Downloads from a server on this machine, with the mishaps of real ones; and the real bytes where they are at hand."""

import functools
import hashlib
import http.server
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from uqlib.structures import datasets, published
from uqlib.structures.published import RemoteFile
from uqlib.structures.units import EV_PER_KCAL_MOL

REAL = os.environ.get("UQLIB_DATA_DIR")
real_bytes = pytest.mark.skipif(
    REAL is None or not Path(REAL, "ammonia.pth.tar").exists(),
    reason="UQLIB_DATA_DIR does not point at a folder with the published files",
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UQLIB_DATA_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which a server shows it."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def _file(address: str, content: bytes, name: str = "set.bin") -> RemoteFile:
    return RemoteFile(name=name, url=f"{address}/{name}", sha256=hashlib.sha256(content).hexdigest())


def test_fetches_once_and_keeps(cache: Path, served: tuple[Path, str]) -> None:
    folder, address = served
    (folder / "set.bin").write_bytes(b"forces")
    file = _file(address, b"forces")
    assert published.fetch(file, progress=False).read_bytes() == b"forces"
    (folder / "set.bin").unlink()  # a second request would fail
    assert published.fetch(file, progress=False).parent == cache


def test_a_wrong_hash_is_refused_and_the_file_not_kept(cache: Path, served: tuple[Path, str]) -> None:
    folder, address = served
    (folder / "set.bin").write_bytes(b"something else")
    expected = hashlib.sha256(b"forces").hexdigest()
    came = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(ValueError, match=expected) as caught:
        published.fetch(_file(address, b"forces"), progress=False)
    assert came in str(caught.value)
    assert not list(cache.iterdir())


def test_a_git_blob_is_checked_where_no_sha256_is_known(cache: Path, served: tuple[Path, str]) -> None:
    folder, address = served
    (folder / "set.bin").write_bytes(b"forces")
    good = hashlib.sha1(b"blob 6\0forces").hexdigest()
    wrong = RemoteFile(name="set.bin", url=f"{address}/set.bin", sha256=None, git_blob="0" * 40)
    with pytest.raises(ValueError, match="0000"):
        published.fetch(wrong, progress=False)
    assert not (cache / "set.bin").exists()
    right = RemoteFile(name="set.bin", url=f"{address}/set.bin", sha256=None, git_blob=good)
    assert published.fetch(right, progress=False).exists()


def test_a_file_that_changed_in_the_cache_is_refused_but_not_deleted(cache: Path) -> None:
    cache.mkdir()
    (cache / "set.bin").write_bytes(b"cut sh")
    with pytest.raises(ValueError, match="delete it"):
        published.fetch(_file("http://127.0.0.1:9", b"cut short"), progress=False)
    assert (cache / "set.bin").exists()


def test_a_download_cut_off_leaves_nothing_and_starts_anew(cache: Path, served: tuple[Path, str]) -> None:
    folder, address = served

    class Short(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = http.server.HTTPServer(("127.0.0.1", 0), Short)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    broken = f"http://127.0.0.1:{server.server_address[1]}"
    with pytest.raises((OSError, ValueError), match=r"set\.bin"):
        published.fetch(_file(broken, b"forces"), progress=False)
    server.shutdown()
    server.server_close()
    assert not list(cache.iterdir())
    (folder / "set.bin").write_bytes(b"forces")
    assert published.fetch(_file(address, b"forces"), progress=False).exists()


def test_out_of_reach_says_how_to_do_it_by_hand(cache: Path) -> None:
    with pytest.raises(OSError, match="download it yourself"):
        published.fetch(_file("http://127.0.0.1:9", b"forces"), progress=False)


def test_rmd17_reads_official_splits_in_ev(
    cache: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = served
    rng = np.random.default_rng(0)
    arrays = {
        "nuclear_charges": np.array([8, 1, 1]),
        "coords": rng.normal(size=(9, 3, 3)),
        "energies": np.arange(9.0) - 47_000,
        "forces": rng.normal(size=(9, 3, 3)),
    }
    members = {"rmd17/npz_data/rmd17_uracil.npz": io.BytesIO()}
    np.savez(members["rmd17/npz_data/rmd17_uracil.npz"], **arrays)
    for name, indices in {"train": [7, 1], "test": [0, 8, 3]}.items():
        members[f"rmd17/splits/index_{name}_02.csv"] = io.BytesIO("\n".join(map(str, indices)).encode())
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:bz2") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content.getvalue())
            tar.addfile(entry, io.BytesIO(content.getvalue()))
    (folder / "rmd17.tar.bz2").write_bytes(archive.getvalue())
    monkeypatch.setattr(published, "RMD17_ARCHIVE", _file(address, archive.getvalue(), "rmd17.tar.bz2"))
    data = datasets.load("rmd17/uracil", source="published", fold=2)
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 2, "test": 3}
    assert data["test"].energies == pytest.approx((np.array([0, 8, 3]) - 47_000) * EV_PER_KCAL_MOL)
    assert data["train"].forces[:3] == pytest.approx(arrays["forces"][7] * EV_PER_KCAL_MOL)
    with pytest.raises(ValueError, match="has no rmd17/npz_data/rmd17_toluene"):
        datasets.load("rmd17/toluene", source="published", fold=2)
    with pytest.raises(ValueError, match="fold: got 6"):
        datasets.load("rmd17/uracil", source="published", fold=6)


@pytest.mark.parametrize("name", ["rmd17/caffeine", "si-zeo22/xyz", "salt", "rmd17"])
def test_unknown_names_list_what_there_is(name: str) -> None:
    with pytest.raises(ValueError, match="aspirin"):
        datasets.load(name, source="published")


def test_every_framework_has_a_hash() -> None:
    known = published._si_zeo22_hashes()
    assert "sod" in known
    for value in known.values():
        kind, _, digits = value.rpartition(":")
        assert len(digits) == (40 if kind else 64)
        int(digits, 16)


@real_bytes
def test_real_ammonia_is_in_ev() -> None:
    """An N-H bond costs about 4 eV to break: the distorted geometries lie within that, and so must the energies."""
    data = datasets.load("ammonia", source="published")
    assert {split: len(part) for split, part in data.splits.items()} == {
        "initial": 78, "generation_1": 20, "generation_2": 20, "generation_3": 20,
    }  # fmt: skip
    assert 0.5 < np.ptp(data.energies) < 8.0
    assert abs(data.forces.reshape(-1, 4, 3).sum(1)).max() < 0.01  # no net force on a molecule


@real_bytes
def test_real_hydrogen_removal_is_in_ev() -> None:
    """The H2 curve of the dimers has its minimum near 0.75 Å, 4 to 5 eV below two atoms apart."""
    data = datasets.load("ethanol-extrapolation", source="published")
    dimers = data["dimers"]
    hh = dimers.take(np.flatnonzero(dimers.info("config_type") == "HH"))
    distance = np.array([frame.get_distance(0, 1) for frame in hh.atoms])
    order = np.argsort(distance)
    best = hh.energies.argmin()
    assert distance[best] == pytest.approx(0.76, abs=0.06)
    assert 4.0 < hh.energies[order[-1]] - hh.energies[best] < 5.0
    assert data["train"].energies.mean() == pytest.approx(-4209, abs=2)


@real_bytes
def test_real_sod_is_periodic_silica_in_ev() -> None:
    data = datasets.load("si-zeo22/sod", source="published")
    assert len(data) == 1703
    assert data.elements == (8, 14)
    assert data.atoms[0].pbc.all()
    assert data.energies.mean() / 36 == pytest.approx(-7.95, abs=0.1)  # eV/atom, VASP's zero
