"""What is counted when a method's cost is measured."""

from __future__ import annotations

import copy
import time

import pytest
import samples
import torch
from samples import batch_of, rattled

from uqlib.methods.shared.committee import Committee
from uqlib.study import costs
from uqlib.study.costs import Cost, measure, peak_memory, seconds

MEGABYTE = 1_000_000


def test_memory_is_what_lives_at_the_same_time() -> None:
    def two_of_three() -> None:
        a = torch.zeros(MEGABYTE, dtype=torch.uint8)
        b = a + 1
        del a
        b.add(1)

    def one_after_another() -> None:
        for _ in range(5):
            torch.zeros(MEGABYTE, dtype=torch.uint8)

    assert peak_memory(two_of_three) == 2 * MEGABYTE
    assert peak_memory(one_after_another) == MEGABYTE


def test_memory_counts_no_view_and_nothing_in_place() -> None:
    before = torch.zeros(MEGABYTE, dtype=torch.uint8)

    def call() -> None:
        before.view(1000, 1000).add_(1)
        view = torch.ones(10 * MEGABYTE, dtype=torch.uint8).view(10, -1)
        view += 1

    assert peak_memory(call) == 10 * MEGABYTE


def test_a_committee_costs_more_than_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [copy.deepcopy(samples.small_network(seed=seed)) for seed in range(6)]
    batch = batch_of(*(rattled("NH3", seed) for seed in range(5)))
    monkeypatch.setattr(costs, "seconds", lambda call, device: (0.5, call()))
    one = measure(models[0], batch, training=2.0)
    six = measure(Committee(models), batch, training=12.0)
    assert one.inference == pytest.approx(0.1)
    training, inference, memory = six.relative_to(one)
    assert (training, inference) == pytest.approx((6.0, 1.0))
    assert 3 < memory < 12


def test_seconds_are_those_of_the_processor() -> None:
    def work(duration: float) -> str:
        end = time.process_time() + duration
        while time.process_time() < end:
            pass
        return "done"

    taken, result = seconds(lambda: work(0.05))
    assert taken >= 0.05
    assert result == "done"
    assert seconds(lambda: time.sleep(0.2))[0] < 0.1, "waiting costs nothing"


def test_refused() -> None:
    with pytest.raises(ValueError, match="repeats: got 0"):
        measure(samples.small_network(), batch_of(rattled("NH3", 0)), training=1.0, repeats=0)


def test_relative_to_nothing() -> None:
    assert Cost(training=1.0, inference=1.0, memory=5).relative_to(Cost(training=1.0, inference=1.0, memory=0))[2] == 5
