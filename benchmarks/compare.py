"""`python -m benchmarks.compare`: `uqlib` and schnetpack in turn, in one process; see README.md on how to read it."""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks import peers
from benchmarks.floor import floor_of
from benchmarks.systems import SYSTEMS, ammonia, ethanol
from benchmarks.timing import Times, busy, interleave
from uqlib.networks import allocator
from uqlib.networks.evaluation import evaluate
from uqlib.networks.painn import PaiNN
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset

SECTIONS = ("model", "ensemble", "epoch", "memory")
ELEMENTS = (1, 6, 7, 8, 14)
Measure = Callable[..., Times]  # `interleave` with the clock that was asked for
PEER, OURS, COMPILED, FLOOR = "schnetpack", "uqlib", "uqlib compiled", "matrix products"


def painn(*, features: int = 128, members: int | None = None, compiled: bool = False) -> PaiNN:
    model = PaiNN(elements=ELEMENTS, features=features, members=members)
    model.compiled = compiled
    return model


def inference(name: str, batch: Batch) -> Callable[[], object]:
    """One evaluation: energies and forces, numbers only."""
    if name == PEER:
        model, given = peers.potential(features=128).eval(), peers.inputs(batch)
        return lambda: [tensor.detach() for tensor in peers.run(model, given)]
    network = painn(compiled=name == COMPILED)
    return lambda: evaluate(network, batch)


def training_step(name: str, batch: Batch) -> Callable[[], object]:
    """One step of Adam on the mean squared errors of energies and forces."""
    model: nn.Module
    if name == PEER:
        model, given = peers.potential(features=128), peers.inputs(batch)

        def predict() -> tuple[Tensor, Tensor]:
            return peers.run(model, given)
    else:
        model = network = painn(compiled=name == COMPILED)

        def predict() -> tuple[Tensor, Tensor]:
            result = evaluate(network, batch, train=True)
            return result.energy, result.forces

    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        energy, forces = predict()
        optimiser.zero_grad()
        _loss(energy, forces, batch).backward()
        optimiser.step()

    return step


def _loss(energy: Tensor, forces: Tensor, labels: Batch) -> Tensor:
    assert labels.energy is not None
    assert labels.forces is not None
    return (energy - labels.energy).square().mean() + (forces - labels.forces).square().mean()


def compare_models(names: tuple[str, ...], measure: Measure, seconds: float) -> None:
    """Inference and training step, per system; and the least that they could take."""
    for system, make in SYSTEMS.items():
        batch = Batch.from_atoms(make())
        for kind, build in (("inference", inference), ("training step", training_step)):
            candidates = {name: build(name, batch) for name in names}
            times = measure({**candidates, FLOOR: floor_of(candidates[OURS])}, seconds=seconds)
            report(f"{system}, {kind}", times, floor=FLOOR)


def compare_ensembles(names: tuple[str, ...], measure: Measure, seconds: float) -> None:
    """Five networks against one: batched (a leading member axis) and one after another."""
    for title, frames in (("one NH3", ammonia()), ("eth32", ethanol(32))):
        batch = Batch.from_atoms(frames)
        for name in (n for n in names if n != PEER):
            one = painn(compiled=name == COMPILED)
            batched = painn(members=5, compiled=name == COMPILED)
            loop = [painn(compiled=name == COMPILED) for _ in range(5)]
            times = measure(
                {
                    "one network": lambda one=one, batch=batch: evaluate(one, batch),
                    "five, batched": lambda batched=batched, batch=batch: evaluate(batched, batch),
                    "five, in a loop": lambda loop=loop, batch=batch: [evaluate(m, batch) for m in loop],
                },
                seconds=seconds,
            )
            report(f"{title}, {name}, inference", times, reference="one network", cost=True)


def compare_epochs(names: tuple[str, ...], measure: Measure, seconds: float) -> None:
    """950 ethanol frames, 64 features, batches of 25, clipped gradients, averaged weights, batch assembly included."""
    data = Dataset(name="ethanol", atoms=tuple(ethanol(950)))
    data.batch()  # the pairs of a data set are found once
    frames = peers.singles([data.batch([index]) for index in range(len(data))])
    times = measure({name: epoch(name, data, frames) for name in names}, seconds=seconds, least=3)
    report("epoch of 950 ethanol frames", times)


def epoch(name: str, data: Dataset, frames: list[dict[str, Tensor]]) -> Callable[[], object]:
    """The same plain loop for both; what differs is the model and how a batch is put together."""
    model = peers.potential(features=64) if name == PEER else painn(features=64, compiled=name == COMPILED)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    parameters = list(model.parameters())
    average = [p.detach().clone() for p in parameters]

    def loss(chosen: Tensor) -> Tensor:
        if isinstance(model, PaiNN):
            batch = data.batch(chosen)
            result = evaluate(model, batch, train=True)
            return _loss(result.energy, result.forces, batch)
        given = peers.collate([frames[int(index)] for index in chosen])
        energy, forces = peers.run(model, given)
        return (energy - given["energy"]).square().mean() + (forces - given["forces"]).square().mean()

    def run() -> None:
        for chosen in torch.randperm(len(data)).split(25):
            value = loss(chosen)
            optimiser.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 10.0)
            optimiser.step()
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 0.01)  # pyright: ignore

    return run


def compare_memory(names: tuple[str, ...], options: argparse.Namespace) -> None:
    """Peak resident memory of three training steps on SiO2-576, each in a process of its own."""
    print("\nSiO2-576, training step, peak memory of the process (of which before the first step)")
    for name in names:
        command = [sys.executable, "-m", "benchmarks.compare", "--memory-of", name, "--threads", str(options.threads)]
        command += ["--allocator"] if options.allocator else []
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak, before = (float(word) / 2**20 for word in output.split()[-2:])
        print(f"  {name:<16} {peak:7.2f} GB  ({before:.2f} GB)")


def measure_memory(name: str) -> None:
    step = training_step(name, Batch.from_atoms(SYSTEMS["SiO2-576"]()))
    before = _peak_memory()
    for _ in range(3):
        step()
    print(_peak_memory(), before)


def _peak_memory() -> int:
    """kB, of this process alone: unlike `getrusage`, it does not start from the peak of the parent."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def report(title: str, times: Times, *, reference: str = PEER, cost: bool = False, floor: str = "") -> None:
    """Medians, and against the reference how many times faster (with `cost`: how many times the time).

    With `floor`, how many times the time of that candidate each of the others takes.
    """
    print(f"\n{title}  ({len(times.seconds)} rounds)")
    for name in times.names:
        line = f"  {name:<16} {times.median(name) * 1e3:8.1f} ms"
        if name not in (reference, floor) and reference in times.names:
            middle, low, high = times.ratio(name, reference) if cost else times.ratio(reference, name)
            line += f"   {middle:5.2f} x {'the time' if cost else 'faster  '}  (quartiles {low:.2f} to {high:.2f})"
        if floor and name != floor:
            line += f"   {times.ratio(name, floor)[0]:5.2f} x {floor}"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about four minutes instead of about fifteen")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=SECTIONS, help="which comparisons")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch threads, for all")
    parser.add_argument("--cpu-time", action="store_true", help="count processor time, not the wall's; one thread only")
    parser.add_argument("--allocator", action="store_true", help="call networks.allocator.keep_memory first, for all")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.cpu_time and options.threads != 1:
        parser.error("--cpu-time: threads that wait for each other spend processor time, too; add --threads 1")
    if options.allocator and not allocator.keep_memory():
        parser.error("--allocator: this system's C library is not glibc")
    if options.memory_of:
        measure_memory(options.memory_of)
        return
    if warning := busy():
        print(f"WARNING: {warning}")
    print(f"torch {torch.__version__}, {options.threads} threads, float32, neighbour pairs prebuilt")
    names = (PEER, OURS) if options.no_compile else (PEER, OURS, COMPILED)
    measure = functools.partial(interleave, clock=time.process_time if options.cpu_time else time.perf_counter)
    seconds = 6.0 if options.quick else 40.0
    if "model" in options.only:
        compare_models(names, measure, seconds)
    if "ensemble" in options.only:
        compare_ensembles(names, measure, seconds / 2)
    if "epoch" in options.only:
        compare_epochs(names, measure, 3 * seconds)
    if "memory" in options.only:
        compare_memory(names, options)


if __name__ == "__main__":
    main()
