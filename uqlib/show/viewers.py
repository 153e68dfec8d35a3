"""Views of structures in three dimensions, in a live notebook and in the static page alike.

Two functions, one for each need. `show_structure` shows one structure with nglview. `show_frames` shows many structures
of the same atoms: it plays and scrubs them, colours atoms by a number of theirs frame by frame, and, given `x` and `y`,
draws a scatter plot beside them in which a picked point shows its structure. A trajectory and a linked plot are one
function because both are a frame number and a way to change it.

Each view carries alternative text and a still picture for print and for browsers without WebGL. In a live kernel a
view is a widget. Where the environment variable `UQLIB_STATIC_HTML` is `1`, as in the book's build, `show_frames`
returns plain HTML instead, which the page's script brings to life without kernel or widget manager.
"""

import json
import os
from collections.abc import Sequence
from html import escape
from typing import Any

from ase import Atoms
from ase.utils import rotate
from numpy.typing import ArrayLike

from uqlib.show import REMEDY, viewer
from uqlib.show.viewer import payload as encode

try:
    import anywidget
    import traitlets
except ImportError as error:
    raise ImportError(f"{error.name} is not installed: {REMEDY}", name=error.name) from error

# A widget of nglview has no place for alternative text. Hidden like this, a picture is still read out.
_PRINT_ONLY = (
    "@media not print{.uqv-print{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}}"
)


class FrameView(anywidget.AnyWidget):
    """Live view of `show_frames`; `frame` follows the reader and may be set, observed or linked."""

    payload = traitlets.Dict().tag(sync=True)
    frame = traitlets.Int(0).tag(sync=True)
    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)

    @traitlets.default("_esm")
    def _default_esm(self) -> str:
        return viewer.live_module()

    @traitlets.default("_css")
    def _default_css(self) -> str:
        return viewer.style()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Any:
        """The widget and, for places that show no widgets (a repository's web page), the still picture."""
        bundle: Any = super()._repr_mimebundle_()
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        return {**data, "text/html": _still_html(self.payload)}, metadata


class StaticFrameView:
    """The same view as plain HTML, for pages behind which no kernel runs."""

    def __init__(self, payload: dict[str, Any]) -> None:
        self.payload = payload

    def _repr_html_(self) -> str:
        # "<" must not appear inside the script element, or "</script>" in a label would end it.
        data = json.dumps(self.payload, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        return (
            f'<div class="uqv-static">{_still_html(self.payload)}'
            f'<script type="application/json" class="uqv-data">{data}</script></div>'
        )


class StructureView:
    """One structure in nglview (`widget`), with its alternative text and still picture."""

    def __init__(self, widget: Any, *, alt: str, still: str) -> None:
        self.widget = widget
        self.alt = alt
        self.still = still

    def _ipython_display_(self) -> None:
        """Display the still picture, which only print and screen readers see, and then the widget."""
        from IPython.display import HTML, display

        picture = f'<img class="uqv-still" src="{self.still}" alt="{escape(self.alt)}">'
        display(HTML(f'<div class="uqv-print"><style>{_PRINT_ONLY}</style>{picture}</div>'))
        display(self.widget)


def show_structure(
    atoms: Atoms, *, alt: str | None = None, height: int = 320, rotation: str = "-80x,15y"
) -> StructureView:
    """Show one structure that the reader can turn, with nglview (Nguyen, Case and Rose, Bioinformatics 2018).

    A browser keeps about 16 WebGL contexts and nglview holds one for each view from the start: show a few a page.

    Args:
        atoms: the structure, positions in Å. A periodic one is drawn with its cell.
        alt: what the picture shows, for readers who cannot see it; the formula if None.
        height: height of the view in pixels.
        rotation: how an isolated molecule is turned before it is shown, as in `ase.visualize.plot.plot_atoms`.

    Returns:
        A view; leave it as the last line of a cell. Its `widget` is the `nglview.NGLWidget`.

    Raises:
        ValueError: no atoms, positions that are not finite, or a height below 50 pixels.
        ImportError: nglview is not installed.
    """
    try:
        import nglview
    except ImportError as error:
        raise ImportError(f"{error.name} is not installed: {REMEDY}", name=error.name) from error
    frames = encode.checked_frames([atoms])
    encode.check_at_least("height", height, 50)
    turned = frames[0].copy()
    turned.calc = None
    if not turned.pbc.any():  # nglview writes a periodic structure in its own orientation
        turned.positions = turned.positions @ rotate(rotation)
    still = encode.structures_payload([turned], rotation="")["still"]
    words = alt or f"Three-dimensional view of {turned.get_chemical_formula()}."
    widget: Any = nglview.NGLWidget(height=f"{height}px")
    widget.layout.width = "100%"
    # NGL's defaults keep the camera 10 Å away, too far from a small molecule, and cut off what is nearer.
    widget.stage.set_parameters(camera_type="orthographic", clip_dist=0.5, clip_near=-100)
    turned.rotate(180, "y", rotate_cell=True)  # its camera looks along +z, from behind
    widget.add_structure(nglview.ASEStructure(turned))
    if turned.pbc.any():
        widget.add_unitcell()
        widget.control.zoom(-0.5)  # it fits the atoms into the view, not the cell around them
    return StructureView(widget, alt=words, still=still)


def show_frames(
    frames: Sequence[Atoms] | Atoms,
    values: ArrayLike | None = None,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    value_label: str = "value",
    xlabel: str = "x",
    ylabel: str = "y",
    vmin: float | None = None,
    vmax: float | None = None,
    labels: Sequence[str] | None = None,
    frame_label: str = "frame",
    frame: int = 0,
    interval: int = 100,
    height: int = 320,
    style: str = "ball+stick",
    rotation: str = "-80x,15y",
    title: str = "",
    alt: str | None = None,
) -> FrameView | StaticFrameView:
    """Play, scrub and pick structures of the same atoms, coloured by a value of each atom in each frame.

    Args:
        frames: F structures with the same N atoms in the same order; positions in Å, shown exactly as given.
        values: (F, N) or (F * N,), one number an atom and frame, such as `Prediction.force_uncertainty`. One colour
            scale serves all frames. NaN is drawn grey. None: atoms have their elements' colours.
        x: (F,), abscissa of each frame in a linked scatter plot. Needs `y`.
        y: (F,), ordinate of each frame. A frame whose x or y is not finite has no point.
        value_label: what `values` is, with its unit, for the colour bar.
        xlabel: what `x` is, with its unit.
        ylabel: what `y` is, with its unit.
        vmin: value at the lower end of the colour scale; the smallest finite value if None.
        vmax: value at its upper end; the largest finite value if None.
        labels: F short texts shown beside the frame number.
        frame_label: what a frame is called, such as "step".
        frame: the frame shown first.
        interval: time between frames while playing, ms.
        height: height of the 3-D view, pixels.
        style: "ball+stick" or "spacefill".
        rotation: how the structures are turned at first, as in `ase.visualize.plot.plot_atoms`.
        title: a line above the view.
        alt: what there is to see, for readers who cannot see it; made from the formula and labels if None.

    Returns:
        A widget in a live kernel, plain HTML where `UQLIB_STATIC_HTML` is `1`; leave it as the last line of a cell.

    Raises:
        ValueError: an argument has the wrong shape or holds no usable number; the message names it.
    """
    structures = encode.checked_frames([frames] if isinstance(frames, Atoms) else list(frames))
    shape = (len(structures), len(structures[0]))
    coloured = None if values is None else encode.checked_values(values, shape)
    if (x is None) != (y is None):
        raise ValueError("x and y belong together: give both for a linked scatter plot, or neither")
    if not 0 <= frame < shape[0]:
        raise ValueError(f"frame is {frame}, but there are {shape[0]} frames: give 0 to {shape[0] - 1}")
    if labels is not None and len(labels) != shape[0]:
        raise ValueError(f"labels has {len(labels)} entries for {shape[0]} frames: give one text a frame")
    if style not in ("ball+stick", "spacefill"):
        raise ValueError(f'style is {style!r}: expected "ball+stick" or "spacefill"')
    encode.check_at_least("interval", interval, 10)
    encode.check_at_least("height", height, 50)
    payload = encode.structures_payload(
        structures,
        values=coloured,
        limits=(vmin, vmax),
        value_label=value_label,
        frame=frame,
        style=style,
        rotation=rotation,
    )
    formula = structures[0].get_chemical_formula()
    colouring = "" if coloured is None else f", atoms coloured by {value_label}"
    payload |= {
        "x": encode.base64_of(encode.per_frame("x", x, shape[0])),
        "y": encode.base64_of(encode.per_frame("y", y, shape[0])),
        "xlabel": xlabel,
        "ylabel": ylabel,
        "labels": None if labels is None else [str(label) for label in labels],
        "frame_label": frame_label,
        "interval": interval,
        "height": height,
        "title": title,
        "alt": alt or f"Three-dimensional view of {formula}, {shape[0]} {frame_label}s{colouring}.",
    }
    if os.environ.get("UQLIB_STATIC_HTML") == "1":
        return StaticFrameView(payload)
    return FrameView(payload=payload, frame=frame)


def _still_html(payload: dict[str, Any]) -> str:
    return f'<img class="uqv-still" src="{payload["still"]}" alt="{escape(payload["alt"])}">'
