"""What a file of the study may say: names and types of its tables, checked before anything is made of them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from uqlib.common.schema import Name, Seed, Strict, check_options
from uqlib.networks.painn import PaiNN


class _System(Strict):
    """A table `[systems.NAME]`."""

    data: str
    training: dict[str, Any]
    regimes: dict[str, tuple[str, ...]]
    network: dict[str, Any] = Field(default_factory=dict)
    share: float = 1.0
    source: Literal["own", "published"] = "own"


class StudyFile(Strict):
    """The whole file."""

    methods: tuple[str, ...]
    seeds: tuple[Seed, ...]
    recalibration: str
    resplit: bool
    network: dict[str, Any]
    systems: dict[Name, _System]
    calibration: float = 0.0
    variants: dict[Name, dict[str, Any]] = Field(default_factory=dict)


def network_options(options: dict[str, Any], where: str) -> dict[str, int | float]:
    """What goes to `PaiNN`, checked as far as that can be before there are data."""
    check_options(PaiNN, options, where)
    try:
        PaiNN(elements=[1], seed=0, **options)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error
    return options
