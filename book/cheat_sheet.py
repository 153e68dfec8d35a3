"""The page "Scores on one page": one table a question, made from the library's list of scores and `metrics.toml`."""

import tomllib
from collections.abc import Iterable

import notebooks

from uqlib.metrics import METRICS
from uqlib.metrics.suite import NEXT_ROW, Metric

NAME = "metrics"
MARK = "<!-- the scores -->"
FILE = notebooks.ROOT / "book" / "metrics.toml"
QUESTIONS = {
    "accuracy": "How large are the errors?",
    "order": "Are the uncertain predictions the bad ones?",
    "size": "Are the error bars of the right size, or both right?",
}
IDEALS = {"low": "as low as possible", NEXT_ROW: "that of the next row", "": "–"}
UNITS = {"same": "that of the error", "nats": "nats", "": "none"}


def entries() -> dict[str, dict[str, str]]:
    """What the file says, by the beginning of a score's name."""
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def entry_of(name: str) -> str:
    """The key that speaks for a score.

    Raises:
        ValueError: none does.
    """
    keys = [key for key in entries() if name.startswith(key)]
    if not keys:
        raise ValueError(f"{FILE.name} says nothing of {name!r}, which `uqlib.metrics.METRICS` has")
    return max(keys, key=len)


def fill(text: str) -> str:
    """The page's text with its tables in place."""
    asked: dict[str, dict[str, list[str]]] = {question: {} for question in QUESTIONS}
    for name, metric in METRICS.items():
        asked[metric.asks].setdefault(entry_of(name), []).append(name)
    parts = [f"## {QUESTIONS[question]}\n\n{_table(rows)}" for question, rows in asked.items()]
    return text.replace(MARK, "\n\n".join(parts))


def _table(rows: dict[str, list[str]]) -> str:
    lines = ["| score | sees | is blind to | best | unit | function |", "|---|---|---|---|---|---|"]
    for key, names in rows.items():
        said, metrics = entries()[key], [METRICS[name] for name in names]
        cells = [f"**{key}**", said["sees"], said["blind"], _best(metrics), UNITS[metrics[0].unit]]
        lines.append(f"| {' | '.join(cells)} | {{py:obj}}`{said['function']} <{_home(said['function'])}>` |")
    return "\n".join(lines)


def _best(metrics: Iterable[Metric]) -> str:
    return ", ".join(dict.fromkeys(IDEALS.get(metric.ideal, metric.ideal) for metric in metrics))


def _home(function: str) -> str:
    """Full name under which the reference has it."""
    from uqlib import metrics

    return f"{getattr(metrics, function).__module__}.{function}"
