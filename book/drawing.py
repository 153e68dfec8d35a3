"""What needs what as a picture, boxes on floors with arrows to what is needed: rooms by imports, chapters by words.

An arrow is left out where others say the same: who needs the methods needs what the methods need.
"""

import itertools
from collections.abc import Callable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import reference

MARK = "<!-- the rooms -->"
WIDE, HIGH, FLOOR = 106, 30, 62  # a box, and from one floor to the next; in units of the picture
WIDTH, GAP, BEND = 460, 8, 14
ROUNDS = 8
WAIST = "prediction"
LEFT_OUT = ("__main__",)

Place = tuple[str, int]
"""A room, or an arrow on its way past a floor: (name, number of the floor)."""


def needs(package: Path) -> dict[str, set[str]]:
    """Room -> rooms that it imports."""
    found: dict[str, set[str]] = {room: set() for room in reference.rooms(package) if room not in LEFT_OUT}
    for name in reference.modules(package):
        room = name.split(".")[1] if "." in name else ""
        for origin in reference.origins(package, name):
            other = origin.split(".")[1] if origin.startswith(f"{package.name}.") else ""
            if room in found and other in found and other != room:
                found[room].add(other)
    return found


def arrows(graph: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """(from, to) for every import that no chain of other imports implies."""
    reach: dict[str, set[str]] = {}
    for room in TopologicalSorter(graph).static_order():
        reach[room] = set().union(graph[room], *(reach[other] for other in graph[room]))
    return [
        (room, other)
        for room, others in graph.items()
        for other in sorted(others)
        if not any(other in reach[third] for third in others)
    ]


def floors(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """Room -> its floor, 0 at the bottom: as high as the rooms that need it allow, which keeps the arrows short."""
    order = list(TopologicalSorter(graph).static_order())
    lowest: dict[str, int] = {}
    for room in order:
        lowest[room] = 1 + max((lowest[other] for other in graph[room]), default=-1)
    found: dict[str, int] = {}
    for room in reversed(order):
        above = [found[other] for other in graph if room in graph[other]]
        found[room] = min(above) - 1 if above else max(lowest.values())
    return found


def svg(package: Path) -> str:
    """The picture of the rooms, to stand in a page beside `reference/`: each box leads to its room."""
    label = "The rooms of the library. The text below says the same."
    return picture(needs(package), label=label, address=lambda room: f"reference/{room}.html")


def picture(
    graph: Mapping[str, set[str]],
    *,
    label: str,
    address: Callable[[str], str],
    words: Callable[[str], str] = str,
    width: int = WIDTH,
) -> str:
    """SVG of who needs whom; colours are the page's own, and each box is a link.

    Args:
        graph: name -> names that it needs.
        label: what the picture says, for readers who cannot see it.
        address: name -> where its box leads.
        words: name -> what stands in its box.
        width: of the whole, in units of the picture.
    """
    floor, links = floors(graph), arrows(graph)
    chains = [_chain(start, end, floor) for start, end in links]
    place = _placed(floor, chains, width)
    top = max(floor.values())
    height = lambda level: (top - level) * FLOOR + 2  # noqa: E731
    parts = [
        f'<svg class="rooms" viewBox="0 0 {width} {height(0) + HIGH + 2}" role="group" '
        f'aria-label="{label}" xmlns="http://www.w3.org/2000/svg">',
        '<defs><marker id="tip" markerWidth="7" markerHeight="6" refX="6" refY="3" orient="auto">'
        '<path class="tip" d="M0,0 L7,3 L0,6 z"/></marker></defs>',
    ]
    for (start, end), chain in zip(links, chains, strict=True):
        points = [(place[each], height(each[1])) for each in chain]
        parts.append(f'<path class="arrow" data-from="{start}" data-to="{end}" d="{_curve(points)}"/>')
    for name, level in floor.items():
        x, y = place[name, level], height(level)
        kind = "room waist" if name == WAIST else "room"
        parts.append(
            f'<a href="{address(name)}"><rect class="{kind}" data-room="{name}" x="{x - WIDE / 2:.0f}" y="{y}" '
            f'width="{WIDE}" height="{HIGH}" rx="6"/>'
            f'<text x="{x:.0f}" y="{y + HIGH / 2 + 4.5}">{words(name)}</text></a>'
        )
    return "\n".join([*parts, "</svg>"])


def _chain(start: str, end: str, floor: dict[str, int]) -> list[Place]:
    between = [(f"{start}>{end}", level) for level in range(floor[start] - 1, floor[end], -1)]
    return [(start, floor[start]), *between, (end, floor[end])]


def _placed(floor: dict[str, int], chains: list[list[Place]], width: int) -> dict[Place, float]:
    """Place -> middle on the x axis; neighbours on the next floors pull each place above or below themselves."""
    rows: dict[int, list[Place]] = {level: [] for level in sorted(set(floor.values()))}
    near: dict[Place, list[Place]] = {}
    for place in [*((room, level) for room, level in floor.items()), *(each for chain in chains for each in chain)]:
        if place not in near:
            near[place] = []
            rows[place[1]].append(place)
    for chain in chains:
        for one, other in itertools.pairwise(chain):
            near[one].append(other)
            near[other].append(one)
    found = {place: x for row in rows.values() for place, x in _spread(row, width).items()}
    for _ in range(ROUNDS):
        for row in rows.values():
            row.sort(key=lambda place: sum(found[each] for each in near[place]) / len(near[place]))
            found |= _spread(row, width)
    return found


def _spread(row: list[Place], width: int) -> dict[Place, float]:
    widths = [WIDE if ">" not in name else GAP for name, _ in row]
    gap = (width - sum(widths)) / (len(row) + 1)
    found, left = {}, gap
    for place, width in zip(row, widths, strict=True):
        found[place] = left + width / 2
        left += width + gap
    return found


def _curve(points: list[tuple[float, int]]) -> str:
    """From the foot of the first box to the head of the last, upright past the floors between."""
    text, last = f"M{points[0][0]:.0f},{points[0][1] + HIGH}", len(points) - 1
    for number, ((x0, y0), (x1, y1)) in enumerate(itertools.pairwise(points), start=1):
        text += f" C{x0:.0f},{y0 + HIGH + BEND} {x1:.0f},{y1 - BEND} {x1:.0f},{y1}"
        if number < last:
            text += f" V{y1 + HIGH}"
    return text


def fill(text: str, package: Path) -> str:
    """A page's text with the picture at its mark."""
    return text.replace(MARK, f"```{{raw}} html\n{svg(package)}\n```") if MARK in text else text
