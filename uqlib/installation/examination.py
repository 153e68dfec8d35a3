"""The order of the checks: first what needs nothing, last what needs everything."""

from __future__ import annotations

from collections.abc import Iterator

from uqlib.installation import machine, packages, trials
from uqlib.installation.findings import Finding


def examine(*, training: bool = True) -> Iterator[Finding]:
    """Check after check, each made when it is asked for.

    Args:
        training: also train a small network; some ten seconds.
    """
    yield machine.python()
    yield machine.threads()
    yield machine.memory()
    yield machine.disk()
    yield from packages.packages()
    if training:
        yield trials.training()
    yield trials.viewer()
    yield from trials.oracles()
    yield trials.gpu()
