"""What is read from the loops: fractions, bands, two factors, and a ruling on robustness as soon as seeds allow one."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from uqlib import methods
from uqlib.loops import FOLDER, grid, load_campaign, load_grid, outcomes, tables
from uqlib.loops.outcomes import ENSEMBLE, NETWORK, OWN, Campaign
from uqlib.study import prose
from uqlib.study.contests import PAPER, margin
from uqlib.study.families import judge
from uqlib.study.verdict import ROBUSTNESS

GRID = load_grid()
STORED = next(iter(load_campaign().cells.values()))
SEEDS = GRID.systems["ammonia"].seeds


def broken(number: int) -> dict[str, Any]:
    """32 replicas for 5 ps, so many of which break, one after another."""
    times = [5.0 * (k + 1) for k in range(number)]
    return {"replicas": 32, "fs": 5000.0, "broke": {"book": times, "study": times}}


def made_up(broke: dict[str, int], *, seeds: int = 10, by_network: int | None = None, noise: int = 3) -> Campaign:
    """Driver -> how many of 32 break on its last potential, with some noise; by one network as many or `by_network`."""
    rng, cells = np.random.default_rng(0), {}
    for seed in SEEDS[:seeds]:
        for driver, number in broke.items():
            cell = copy.deepcopy(dict(STORED))
            found = int(np.clip(number + rng.integers(-noise, noise + 1), 0, 32))
            cell["generations"][0]["survival"]["1000"] = broken(32)
            cell["generations"][-1]["survival"]["1000"] = broken(found)
            for learner, breaks in ((NETWORK, found if by_network is None else by_network), (ENSEMBLE, found)):
                cell["learners"][learner]["after"]["survival"]["1000"] = broken(breaks)
            cells["ammonia", seed, driver] = cell
    return Campaign(grid=GRID, cells=cells)


def ruling(campaign: Campaign) -> tuple[str, dict[str, str]]:
    found = judge(outcomes.contrasts(campaign), margin)
    finding = outcomes.robustness(campaign, found)
    assert finding.claim == ROBUSTNESS
    return finding.rulings.get("ammonia", "none"), dict(finding.few)


def test_the_stored_cells_are_read() -> None:
    campaign = load_campaign()
    assert campaign.stale == ()
    assert campaign.seeds("ammonia", PAPER)
    for driver in campaign.drivers("ammonia"):
        seed = campaign.seeds("ammonia", [driver])[0]
        cell = campaign.cells["ammonia", seed, driver]
        expected = 1 - len(cell["generations"][-1]["survival"]["1000"]["broke"]["study"]) / 32
        assert campaign.fractions("ammonia", driver, OWN, "study", [seed]) == pytest.approx([expected])


def test_a_seed_counts_when_all_drivers_are_done() -> None:
    whole = made_up(dict.fromkeys(PAPER, 5), seeds=4)
    cells = {key: cell for key, cell in whole.cells.items() if key != ("ammonia", SEEDS[1], "mve")}
    fewer = Campaign(grid=GRID, cells=cells)
    assert fewer.seeds("ammonia", PAPER) == [SEEDS[0], SEEDS[2], SEEDS[3]]
    assert fewer.seeds("ammonia", ["gmm"]) == list(SEEDS[:4])
    (found,) = outcomes.contrasts(fewer).values()
    assert {len(values) for values in found.values()} == {3}


@pytest.mark.parametrize(
    ("broke", "expected"),
    [
        ({"ensemble": 4, "mve": 28, "evidential": 20, "gmm": 16}, "upheld"),
        ({"ensemble": 16, "mve": 28, "evidential": 20, "gmm": 4}, "contradicted"),
        ({"ensemble": 10, "mve": 28, "evidential": 28, "gmm": 11}, "contradicted"),  # as many within the margin
    ],
)
def test_rulings_on_robustness(broke: dict[str, int], expected: str) -> None:
    noise = 1 if broke["gmm"] == 11 else 3
    assert ruling(made_up(broke, noise=noise)) == (expected, {})


def test_undecided_until_there_are_seeds() -> None:
    for seeds in (1, 2, 5):
        found, few = ruling(made_up({"ensemble": 0, "mve": 32, "evidential": 32, "gmm": 32}, seeds=seeds))
        assert found == "undecided"
        assert few == {"ammonia": f"{seeds} seeds"}
    assert ruling(Campaign(grid=GRID, cells={})) == ("none", {})


def test_who_chose_and_who_learns_are_told_apart() -> None:
    """Potentials that last because of their learner: by one network all break alike, whoever chose."""
    campaign = made_up({"ensemble": 0, "mve": 30, "evidential": 30, "gmm": 30}, by_network=32, noise=0)
    (found,) = outcomes.contrasts(campaign).values()
    own = [values for key, values in found.items() if key.domain == OWN]
    chosen = [values for key, values in found.items() if key.domain == NETWORK]
    learner = [values for key, values in found.items() if key.rival == NETWORK]
    assert len(own) == len(chosen) == 6
    assert np.allclose(own, 30 / 32)
    assert np.allclose(chosen, 0)
    assert np.allclose(learner, 1)
    heads, rows = tables.two_factors(campaign, "ammonia", "study")
    assert heads[2:] == [f"learnt by {learner}" for learner in (OWN, NETWORK, ENSEMBLE)]
    assert rows[0][2].startswith("100 (")  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    assert rows[0][3].startswith("0 (")  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]


def test_bands_know_how_many_seeds_there_are() -> None:
    """Where all potentials hold, the band is that of as many trials as there are seeds."""
    for seeds in (3, 10):
        campaign = made_up(dict.fromkeys(PAPER, 0), seeds=seeds, noise=0)
        band = campaign.band("ammonia", "mve", OWN, "study", last=True)
        assert (band.value, band.high, band.seeds) == (1.0, 1.0, seeds)
        assert band.low == pytest.approx(beta.ppf(0.025, seeds, 1), abs=0.02)


def test_one_seed_says_nothing_of_others() -> None:
    band = made_up(dict.fromkeys(PAPER, 0), seeds=1, noise=0).band("ammonia", "gmm", OWN, "book", last=True)
    assert (band.value, band.low, band.high) == (1.0, 0.0, 1.0)
    assert str(band) == "100 (0 to 100)"


def test_the_page_says_what_loops_could_have_found() -> None:
    found = judge(outcomes.contrasts(made_up({"ensemble": 4, "mve": 28, "evidential": 20, "gmm": 16})), margin)
    text = prose.family_in_words(found)
    assert "- **ammonia loops**: 14 contrasts, 10 seeds; a difference of " in text
    assert " % would be found in four of five repetitions" in text


def test_the_other_tables() -> None:
    campaign = load_campaign()

    def by_study(found: Campaign, system: str) -> tuple[list[str], list[tables.Row]]:
        return tables.survivals(found, system, "study")

    for table in (by_study, tables.barriers, tables.first_labels):
        heads, rows = table(campaign, "ammonia")
        assert list(dict.fromkeys(row[0] for row in rows)) == [
            tables.label(driver) for driver in campaign.drivers("ammonia")
        ]
        assert {len(row) for row in rows} == {len(heads)}
    cell = copy.deepcopy(dict(STORED))
    cell["generations"][1]["errors"]["path"]["force MAE"] = 2 * cell["generations"][0]["errors"]["path"]["force MAE"]
    nothing = copy.deepcopy(dict(STORED))
    nothing["generations"] = nothing["generations"][:1]
    key = ("ammonia", SEEDS[0], "ensemble")
    heads, rows = tables.first_labels(Campaign(grid=GRID, cells={key: cell}), "ammonia")
    assert dict(zip(heads, rows[0], strict=True))["path"] == pytest.approx(2)
    heads, rows = tables.first_labels(Campaign(grid=GRID, cells={key: nothing}), "ammonia")
    assert rows[0][1] == 0
    assert rows[0][3:] == [None] * len(rows[0][3:])


def test_cells_of_other_settings_and_broken_ones(tmp_path: Path) -> None:
    path = tmp_path / "ammonia" / str(SEEDS[0]) / "mve.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**STORED, "digest": "0"}))
    found = load_campaign(tmp_path)
    assert (dict(found.cells), found.stale) == ({}, (f"ammonia/{SEEDS[0]}/mve.json",))
    path.write_text("{")
    with pytest.raises(ValueError, match=r"mve\.json: not a cell of the loops"):
        load_campaign(tmp_path)
    other = dataclasses.replace(GRID, learners=3)
    assert load_campaign(FOLDER, other).stale


def test_settings_that_came_later_leave_cells_as_they_are() -> None:
    """A field that is new and changes nothing is no reason to run days of loops again; one that does, is."""
    plain = grid.plain(methods.METHODS["mve"])
    assert "stress_weight" not in plain
    assert grid.plain(dataclasses.replace(methods.METHODS["mve"], stress_weight=0.5))["stress_weight"] == 0.5  # pyright: ignore
