"""Scripts of others, packed beside ours: the build takes only those whose sums are recorded."""

import hashlib
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import slides

ROOT = Path(__file__).resolve().parents[2]
SELFHOST = runpy.run_path(str(ROOT / "book/_ext/selfhost.py"))
verify, mended = SELFHOST["verify"], SELFHOST["mended"]


@pytest.mark.parametrize("folder", SELFHOST["CHECKED"], ids=lambda folder: folder.name)
def test_ours_are_the_ones_that_were_checked(folder: Path) -> None:
    verify(folder)
    packed = [path for path in folder.iterdir() if path.suffix in (".gz", ".zip")]
    assert packed
    assert len((folder / "SHA256SUMS").read_text().splitlines()) == len(packed)


def test_no_packed_script_lies_elsewhere() -> None:
    places = [
        path for top in ("book", "uqlib/show") for path in (ROOT / top).rglob("*") if path.suffix in (".gz", ".zip")
    ]
    assert {path.parent for path in places} == set(SELFHOST["CHECKED"])
    assert {path.name for path in places} >= {*SELFHOST["ARCHIVES"], *slides.ARCHIVES, "ngl.js.gz"}


def one_byte_other(folder: Path) -> None:
    content = bytearray((folder / "a.zip").read_bytes())
    content[3] ^= 1
    (folder / "a.zip").write_bytes(content)


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "one byte": (one_byte_other, r"a\.zip has the sum [0-9a-f]{64}, expected"),
    "cut short": (lambda folder: (folder / "b.gz").write_bytes(b"b"), r"b\.gz has the sum"),
    "gone": (lambda folder: (folder / "b.gz").unlink(), r"b\.gz: either no archive or no sum"),
    "one more": (lambda folder: (folder / "c.zip").write_bytes(b"c"), r"c\.zip: either no archive or no sum"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_another_one_stops_the_build(kind: str, tmp_path: Path) -> None:
    sums = ""
    for name in ("a.zip", "b.gz"):
        (tmp_path / name).write_bytes(name.encode() * 3)
        sums += f"{hashlib.sha256(name.encode() * 3).hexdigest()}  {name}\n"
    (tmp_path / "SHA256SUMS").write_text(sums)
    verify(tmp_path)
    spoil, words = SPOILT[kind]
    spoil(tmp_path)
    with pytest.raises(ValueError, match=words):
        verify(tmp_path)


def test_slides_take_no_other_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "_ext" / "vendor"
    shutil.copytree(slides.VENDOR, place)
    shutil.copy(slides.VENDOR.parent / "selfhost.py", place.parent)
    (place / "reveal-5.2.1.zip").write_bytes(b"other")
    monkeypatch.setattr(slides, "VENDOR", place)
    with pytest.raises(ValueError, match=r"reveal-5\.2\.1\.zip has the sum"):
        slides.copy_scripts(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "a a", "b"])
def test_a_change_to_an_edition_that_has_no_place_for_it_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"'a' is there \d times, expected once"):
        mended(text, {"a": "c"})
