"""The still picture of a structure: an SVG for print, for readers without WebGL and for pages without scripts.

It shows what the live viewer shows at first: the same orientation, colours, radii and bonds.
"""

import base64
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, LEGEND = 480.0, 300.0, 52.0  # user units of the SVG
_EDGES = ((0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 3), (2, 6), (3, 7), (4, 5), (4, 6), (5, 7), (6, 7))


def bonded_pairs(positions: NDArray, reach: NDArray) -> NDArray:
    """Pairs of atoms drawn as bonded: closer than the sum of their reaches, never across the cell boundary.

    Args:
        positions: (N, 3) Å.
        reach: (N,) Å, a covalent radius with some slack.

    Returns:
        (B, 2) atom indices i < j.
    """
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    return np.argwhere(np.triu(distances < reach[:, None] + reach[None], k=1))


def still_svg(
    positions: NDArray,
    *,
    colours: Sequence[str],
    radii: NDArray,
    reach: NDArray,
    rotation: NDArray,
    cell: NDArray | None = None,
    legend: tuple[Sequence[str], float, float, str] | None = None,
) -> str:
    """Draw one structure, seen from far away, as an SVG document.

    Args:
        positions: (N, 3) Å.
        colours: N colours, `#rrggbb`.
        radii: (N,) Å, radii of the drawn spheres.
        reach: (N,) Å, see `bonded_pairs`.
        rotation: (3, 3), its rows are the picture's right, up and towards-the-reader directions.
        cell: (3, 3) Å, rows are lattice vectors, or None for no cell.
        legend: colours of the colour bar, its lowest and highest value, and its label with the unit; or None.

    Returns:
        The text of an SVG document with a white ground.
    """
    seen = positions @ rotation.T
    corners = np.zeros((0, 3))
    if cell is not None:
        corners = np.array([[k & 1, k >> 1 & 1, k >> 2] for k in range(8)]) @ cell @ rotation.T
    everything = np.concatenate([seen[:, :2] - radii[:, None], seen[:, :2] + radii[:, None], corners[:, :2]])
    low, high = everything.min(axis=0), everything.max(axis=0)
    height = HEIGHT - (LEGEND if legend else 0.0)
    scale = min(120.0, float((0.88 * np.array([WIDTH, height]) / np.maximum(high - low, 1e-6)).min()))

    def place(point: NDArray) -> tuple[float, float]:
        x, y = (point[:2] - (low + high) / 2) * scale
        return WIDTH / 2 + x, height / 2 - y

    parts = [(-np.inf, _line(place(corners[a]), place(corners[b]), 1.2)) for a, b in _EDGES if len(corners)]
    for i, j in bonded_pairs(positions, reach):
        depth = min(seen[i, 2], seen[j, 2])
        parts.append((depth, _line(place(seen[i]), place(seen[j]), max(2.0, 0.24 * scale))))
    for point, colour, radius in zip(seen, colours, radii, strict=True):
        x, y = place(point)
        ball = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius * scale:.1f}"'
        parts.append(
            (point[2], f'{ball} fill="{colour}" stroke="#333" stroke-width="0.8"/>{ball} fill="url(#light)"/>')
        )
    body = "".join(text for _, text in sorted(parts, key=lambda part: part[0]))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" width="{WIDTH:.0f}">'
        '<defs><radialGradient id="light" cx="0.35" cy="0.3" r="0.8"><stop offset="0" stop-color="#fff" '
        'stop-opacity="0.55"/><stop offset="0.5" stop-color="#fff" stop-opacity="0"/><stop offset="1" '
        'stop-color="#000" stop-opacity="0.3"/></radialGradient></defs>'
        f'<rect width="100%" height="100%" fill="#fff"/>{body}{_legend(legend) if legend else ""}</svg>'
    )


def data_uri(svg: str) -> str:
    """The SVG document as the address of a picture, so that it travels inside the page."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8")).decode("ascii")


def _line(start: tuple[float, float], end: tuple[float, float], width: float) -> str:
    return (
        f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
        f'stroke="#9a9a9a" stroke-width="{width:.1f}" stroke-linecap="round"/>'
    )


def _legend(legend: tuple[Sequence[str], float, float, str]) -> str:
    stops, low, high, label = legend
    left, width, top = WIDTH / 2 - 110, 220, HEIGHT - LEGEND + 18
    steps = "".join(f'<stop offset="{k / (len(stops) - 1):.3f}" stop-color="{c}"/>' for k, c in enumerate(stops))
    text = '<text y="{y:.0f}" x="{x:.0f}" text-anchor="{anchor}" font-family="sans-serif" font-size="12">{words}</text>'
    return (
        f'<defs><linearGradient id="ramp">{steps}</linearGradient></defs>'
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{width}" height="10" fill="url(#ramp)"/>'
        + text.format(y=top - 6, x=WIDTH / 2, anchor="middle", words=escape(label))
        + text.format(y=top + 24, x=left, anchor="start", words=f"{low:.3g}")
        + text.format(y=top + 24, x=left + width, anchor="end", words=f"{high:.3g}")
    )
