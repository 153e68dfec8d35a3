"""A figure that the reader leafs through on a page without a kernel: one picture per value, chosen by a row of buttons.

Nothing runs in the browser: the buttons are radio buttons, and the style sheet shows the picture of the chosen one.
The arrow keys move along the row. It works in the static book, in Jupyter and from a file.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE = """
#{id} {{position: relative; margin: 1em 0}}
#{id} > input {{position: absolute; opacity: 0}}
#{id} > label {{display: inline-block; min-width: 2.2em; padding: .15em .6em; margin-right: .2em; text-align: center;
  border: 1px solid #767676; border-radius: .3em; cursor: pointer}}
#{id} > input:checked + label {{background: #0072B2; border-color: #0072B2; color: white}}
#{id} > input:focus-visible + label {{outline: 2px solid #D55E00}}
#{id} > div > img {{display: none; width: {width}px; max-width: 100%; margin-top: .5em}}
"""
RULE = "#{id} > input:nth-of-type({n}):checked ~ div > img:nth-of-type({n}) {{display: block}}\n"


class Flipbook:
    """Pictures and the words that choose among them; shown as HTML when it is the last line of a cell."""

    def __init__(self, pictures: Sequence[bytes], names: Sequence[str], *, label: str, alt: str, width: int) -> None:
        self.pictures = tuple(pictures)  # PNG
        self.names = tuple(names)
        self.label = label
        self.alt = alt
        self.width = width  # pixels

    def _repr_html_(self) -> str:
        # Named after its content: the same figure gives the same page, two figures on one page do not interfere.
        name = "flip-" + hashlib.sha256(b"".join(self.pictures) + self.label.encode()).hexdigest()[:10]
        style, buttons, images = STYLE.format(id=name, width=self.width), "", ""
        for n, (picture, word) in enumerate(zip(self.pictures, self.names, strict=True), start=1):
            style += RULE.format(id=name, n=n)
            checked = " checked" if n == len(self.names) else ""
            buttons += f'<input type="radio" name="{name}" id="{name}-{n}"{checked}>'
            buttons += f'<label for="{name}-{n}">{escape(word)}</label>'
            source = base64.b64encode(picture).decode()
            alt = escape(f"{self.alt} Here: {self.label} {word}.")
            images += f'<img src="data:image/png;base64,{source}" alt="{alt}">'
        group = f'id="{name}" role="radiogroup" aria-label="{escape(self.label)}"'
        return f"<style>{style}</style><div {group}>{escape(self.label)}: {buttons}<div>{images}</div></div>"


def flipbook(
    draw: Callable[[Axes, Any], object],
    values: Sequence[Any],
    *,
    label: str,
    alt: str,
    figsize: tuple[float, float] = (6.4, 4.0),
) -> Flipbook:
    """Draw one figure for each value, and let the reader choose; the last one is shown first.

    Fix the limits of the axes in `draw`, so that nothing jumps but what the value changes.

    Args:
        draw: Called as draw(ax, value) with fresh Axes for each value.
        values: What to draw; `str(value)` is written on its button.
        label: What the values are, with unit.
        alt: What there is to see, for readers who cannot see it; the value is added to it.
        figsize: Inches.

    Raises:
        ValueError: No values, or no alternative text.
    """
    if not values or not alt.strip():
        raise ValueError(f"values is {list(values)!r} and alt {alt!r}, expected at least one value and a description")
    pictures = []
    for value in values:
        figure = Figure(figsize=figsize)
        draw(figure.add_subplot(), value)
        buffer = io.BytesIO()
        # Without the date and version that matplotlib writes, the same figure is the same file.
        figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
        pictures.append(buffer.getvalue())
    return Flipbook(pictures, [str(value) for value in values], label=label, alt=alt, width=round(100 * figsize[0]))
