"""The exercises of the chapters, each with a check that says what is wrong.

    check("ensembles.2", 0.03)

What is asked, and which answers are accepted, stands in `exercises.toml` beside this file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from uqlib.chapters import answers
from uqlib.chapters.answers import Exercise

FILE = Path(__file__).with_name("exercises.toml")
STYLE = "border-left:3px solid {colour};padding-left:.6em;margin:.3em 0"
COLOURS = {"right": "#009e73", "wrong": "#d55e00", "open": "#0072b2"}  # Okabe and Ito: told apart by all
NOT_YET = "not answered yet"


def check(key: str, answer: Any) -> None:
    """Say whether an answer is right and, if not, what is wrong with it: sign, unit, factor, a typical mistake.

    Args:
        key: chapter and number, such as "ensembles.2".
        answer: a number (a tensor or array of one element will do) or a word; None while there is none.

    Raises:
        ValueError: there is no such exercise.
    """
    exercise = find(key)
    if answer is None or answer is ...:
        _say("open", f"{key}: {NOT_YET}.", exercise.hint)
        return
    fault = verdict(exercise, answer)
    _say("wrong" if fault else "right", f"{key}: {fault or 'right.'}", exercise.hint if fault else "")


def hint(key: str) -> None:
    """Print the hint of an exercise. Raises ValueError if there is no such exercise."""
    print(find(key).hint)


def verdict(exercise: Exercise, answer: Any) -> str:
    """What is wrong with an answer, in words; empty if nothing is."""
    if exercise.kind == "open":
        return "this one has no answer that a program could check. Compare yours with the solution in the book."
    if exercise.kind == "choice":
        return answers.fault_of_word(exercise, answer)
    return answers.fault_of_number(exercise, answer)


def find(key: str) -> Exercise:
    """An exercise by its name. Raises ValueError if there is none."""
    known = exercises()
    if key not in known:
        near = get_close_matches(str(key), known, n=3, cutoff=0.4) or list(known)[:3]
        raise ValueError(f"key: got {key!r}, expected the name of an exercise, such as {', '.join(near)}")
    return known[key]


@cache
def exercises() -> Mapping[str, Exercise]:
    """All exercises by their names, in the order of the file."""
    entries = tomllib.loads(FILE.read_text(encoding="utf-8"))["exercise"]
    return {entry["key"]: Exercise(**entry) for entry in entries}


def minutes(chapter: str) -> float:
    """How long the exercises of a chapter take, in minutes; 0 if it has none."""
    return sum(exercise.minutes for exercise in exercises().values() if exercise.chapter == chapter)


def _say(state: str, words: str, hint_text: str) -> None:
    """One quiet line, with the hint to unfold in a notebook."""
    plain = words + (f" hint({words.split(':')[0]!r}) helps." if hint_text and state != "right" else "")
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import display
    except ImportError:  # the library alone
        print(plain)
        return
    if get_ipython() is None:
        print(plain)
        return
    fold = f"<details><summary>Hint</summary>{_marked(hint_text)}</details>" if hint_text else ""
    line = f'<div class="exercise-said" style="{STYLE.format(colour=COLOURS[state])}">{escape(words)}{fold}</div>'
    display({"text/html": line, "text/plain": plain}, raw=True)


def _marked(text: str) -> str:
    """Text with code between backticks, as HTML."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))
