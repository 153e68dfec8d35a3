"""The Python half of the viewers: what reaches the browser, and what is refused. `test_site.py` has the other half."""

import base64
import gzip
import hashlib
import html
import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from uqlib.show import viewer
from uqlib.show.viewer.payload import MISSING, colour_limits, value_colour
from uqlib.show.viewer.still import bonded_pairs
from uqlib.show.viewers import FrameView, StaticFrameView, show_frames, show_structure

NGL_SHA256 = "ceab08a04b246cd4ba799749fce0a822c370e34b7366a3c090530ea5e8d48507"
"""SHA-256 of `dist/ngl.js` in the npm package ngl 2.5.0."""


@pytest.fixture
def frames(rng: np.random.Generator) -> list[Atoms]:
    """Five shaken ammonia molecules."""
    shaken = [molecule("NH3") for _ in range(5)]
    for atoms in shaken:
        atoms.positions += rng.normal(scale=0.05, size=(4, 3))
    return shaken


@pytest.fixture
def static(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the book's build."""
    monkeypatch.setenv("UQLIB_STATIC_HTML", "1")


def floats(text: str) -> np.ndarray:
    """Decode as the browser does."""
    return np.frombuffer(base64.b64decode(text), "<f4")


def page_payload(view: Any) -> dict[str, Any]:
    """What a browser reads from the page."""
    assert isinstance(view, StaticFrameView)
    found = re.search(r'<script type="application/json" class="uqv-data">(.*?)</script>', view._repr_html_(), re.DOTALL)
    assert found
    return json.loads(found.group(1))


@pytest.mark.usefixtures("static")
def test_page_holds_positions_values_and_points(frames: list[Atoms], rng: np.random.Generator) -> None:
    values, x, y = rng.random((5, 4)), rng.random(5), rng.random(5)
    payload = page_payload(show_frames(frames, values, x, y, value_label="σ (eV/Å)"))
    np.testing.assert_allclose(floats(payload["positions"]).reshape(5, 4, 3), [a.positions for a in frames], atol=1e-6)
    np.testing.assert_allclose(floats(payload["values"]).reshape(5, 4), values, rtol=1e-6)
    np.testing.assert_allclose(floats(payload["x"]), x, rtol=1e-6)
    np.testing.assert_allclose(floats(payload["y"]), y, rtol=1e-6)
    assert (payload["vmin"], payload["vmax"]) == (values.min(), values.max())
    assert payload["symbols"] == ["N", "H", "H", "H"]
    assert payload["value_label"] == "σ (eV/Å)"


@pytest.mark.usefixtures("static")
def test_flat_values_and_tensors_are_taken(frames: list[Atoms]) -> None:
    values = torch.arange(20.0, requires_grad=True)
    payload = page_payload(show_frames(frames, values))  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(floats(payload["values"]), np.arange(20))


@pytest.mark.usefixtures("static")
def test_skewed_cell_and_positions_are_sent_as_they_are() -> None:
    cell = [[5.0, 0, 0], [2.0, 4.5, 0], [1.0, 1.0, 5.0]]
    atoms = Atoms("SiO2", positions=[[0.1, 0.2, 0.3], [1.5, 0, 0], [0, 6.0, -1.0]], cell=cell, pbc=True)
    payload = page_payload(show_frames([atoms, atoms]))
    np.testing.assert_allclose(floats(payload["cells"]).reshape(2, 3, 3)[1], cell)
    np.testing.assert_allclose(floats(payload["positions"]).reshape(2, 3, 3)[0], atoms.positions, atol=1e-6)


@pytest.mark.usefixtures("static")
def test_isolated_structures_have_no_cell(frames: list[Atoms]) -> None:
    assert page_payload(show_frames(frames))["cells"] == ""


@pytest.mark.usefixtures("static")
def test_nan_values_are_grey_and_leave_the_scale_alone(frames: list[Atoms]) -> None:
    values = np.linspace(1.0, 2.0, 20).reshape(5, 4)
    values[0, 0] = np.nan
    payload = page_payload(show_frames(frames, values))
    assert (payload["vmin"], payload["vmax"]) == (np.nanmin(values), 2.0)
    assert np.isnan(floats(payload["values"])[0])
    assert f'fill="{MISSING}"' in base64.b64decode(payload["still"].split(",")[1]).decode()


@pytest.mark.usefixtures("static")
def test_markup_in_labels_stays_text(frames: list[Atoms]) -> None:
    evil = '</script><script>alert("x")</script>'
    view = show_frames(frames, title=evil, alt=evil, value_label=evil, values=np.ones((5, 4)), labels=[evil] * 5)
    page = view._repr_html_()  # pyright: ignore[reportAttributeAccessIssue]
    assert page.count("</script>") == 1
    assert "<script>alert" not in page
    assert page_payload(view)["title"] == evil
    still = base64.b64decode(page_payload(view)["still"].split(",")[1]).decode()
    assert "<script" not in still
    assert html.escape(evil) in still


@pytest.mark.usefixtures("static")
def test_alternative_text(frames: list[Atoms]) -> None:
    assert 'alt="An umbrella."' in show_frames(frames, alt="An umbrella.")._repr_html_()  # pyright: ignore
    assert "H3N, 5 steps" in page_payload(show_frames(frames, frame_label="step"))["alt"]


def test_live_view_is_a_widget_with_a_still_picture(frames: list[Atoms]) -> None:
    view = show_frames(frames, frame=2)
    assert isinstance(view, FrameView)
    assert view.frame == 2
    data, _ = view._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "text/html"} <= set(data)
    assert data["text/html"].startswith('<img class="uqv-still"')
    json.dumps(view.get_state(), default=lambda _: None, allow_nan=False)
    assert not any(isinstance(v, bytes | memoryview) for v in view.payload.values()), "Colab loses binary buffers"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": []}, "frames is empty"),
        ({"frames": [Atoms()]}, r"frames\[0\] has no atoms"),
        ({"frames": ["NH3"]}, r"frames\[0\] is a str"),
        ({"frames": [molecule("NH3"), molecule("H2O")]}, r"frames\[1\] is H2O \(3 atoms\), frames\[0\] is H3N"),
        ({"values": np.ones((5, 3))}, r"values has shape \(5, 3\): expected \(5, 4\)"),
        ({"values": np.full((5, 4), np.nan)}, "values holds no finite number"),
        ({"values": [["a"] * 4] * 5}, "values holds <U1 entries"),
        ({"values": np.ones((5, 4)), "vmin": 2.0}, "vmin must be smaller"),
        ({"x": np.ones(5)}, "x and y belong together"),
        ({"x": np.ones(4), "y": np.ones(5)}, r"x has shape \(4,\): expected \(5,\)"),
        ({"x": np.ones(5), "y": np.full(5, np.inf)}, "y holds no finite number"),
        ({"frame": 5}, "frame is 5, but there are 5 frames: give 0 to 4"),
        ({"frame": -1}, "frame is -1"),
        ({"labels": ["a"]}, "labels has 1 entries for 5 frames"),
        ({"style": "cartoon"}, "style is 'cartoon'"),
        ({"interval": 0}, "interval is 0: expected at least 10"),
        ({"height": float("nan")}, "height is nan"),
    ],
)
def test_bad_input_is_named(frames: list[Atoms], change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"frames": frames}
    with pytest.raises((ValueError, TypeError), match=message):
        show_frames(**(arguments | change))


def test_positions_that_are_not_finite_are_refused(frames: list[Atoms]) -> None:
    frames[3].positions[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"frames\[3\] has positions that are not finite"):
        show_frames(frames)
    with pytest.raises(ValueError, match=r"frames\[0\] has positions that are not finite"):
        show_structure(frames[3])


@pytest.mark.filterwarnings("default")  # nglview's own
def test_structure_view_leaves_the_atoms_alone(frames: list[Atoms]) -> None:
    before = frames[0].positions.copy()
    view = show_structure(frames[0], alt="Ammonia & co.")
    np.testing.assert_array_equal(frames[0].positions, before)
    assert view.still.startswith("data:image/svg+xml;base64,")
    assert view.widget.n_components == 1 or view.widget._ngl_component_ids
    with pytest.raises(ValueError, match="height is 10: expected at least 50"):
        show_structure(frames[0], height=10)


def test_equal_values_still_give_a_scale() -> None:
    low, high = colour_limits(np.full((2, 2), 3.0), None, None)
    assert low < 3.0 < high
    assert colour_limits(np.zeros((2, 2)), None, None) == (-0.5, 0.5)


def test_colours_run_from_end_to_end_and_are_clipped() -> None:
    assert value_colour(0.0, 0.0, 1.0) == value_colour(-5.0, 0.0, 1.0) == "#440154"
    assert value_colour(1.0, 0.0, 1.0) == value_colour(np.inf, 0.0, 1.0) == "#fde725"
    assert value_colour(np.nan, 0.0, 1.0) == MISSING


def test_bonds_follow_the_distance() -> None:
    positions = np.array([[0.0, 0, 0], [1.0, 0, 0], [2.5, 0, 0]])
    assert bonded_pairs(positions, np.full(3, 0.6)).tolist() == [[0, 1]]


def test_engine_is_the_published_one() -> None:
    assert hashlib.sha256(gzip.decompress(viewer._engine_gz())).hexdigest() == NGL_SHA256


def test_scripts_hold_no_foreign_address() -> None:
    ours = viewer.page_script() + viewer.style()
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)[^\s'\"]+", ours) == []
    assert viewer.live_module().rstrip().endswith("export default { render };")
