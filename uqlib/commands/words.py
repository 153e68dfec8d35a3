"""The library's words for how a file is read, as the command line has them; apart, to be had without torch."""

from __future__ import annotations

import re

READING = (
    "energy_key", "forces_key", "stress_key", "virial_key", "energy_unit", "length_unit", "forces_unit", "stress_unit",
)  # fmt: skip


def in_words_of_the_command_line(text: str) -> str:
    """An error of the library that names arguments of Python, with the options that stand for them here."""
    text = text.replace("by_group=False", "--no-by-group").replace("blocks=True", "--blocks")
    text = text.replace("stress_weight=0", "--stress-weight 0")
    text = re.sub(r"E0=\{[^}]*\}", "--e0 H=-13.6,...", text)
    names = "|".join(READING)
    text = re.sub(rf"\b({names})=(['\"]?)([^\s'\",;)]+)\2", lambda m: f"{option(m[1])} {m[3]}", text)
    return re.sub(rf"\b({names})\b", lambda m: option(m[1]), text)


def option(name: str) -> str:
    """`energy_key` as `--energy-key`."""
    return f"--{name.replace('_', '-')}"
