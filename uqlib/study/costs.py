"""What a method costs: time to train, time and memory to predict, each held against one plain network."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from uqlib.common.devices import as_device
from uqlib.networks.evaluation import evaluate
from uqlib.networks.painn import PaiNN
from uqlib.prediction import Predictor
from uqlib.structures.batch import Batch


@dataclass(frozen=True, kw_only=True)
class Cost:
    """On this machine, with as many threads as torch now has. Times are of the processor; on a GPU, on the wall."""

    training: float  # s
    inference: float  # s for each structure, in the batch that was given
    memory: int  # bytes that tensors take at most at a time during one prediction, besides weights and batch

    def relative_to(self, plain: Cost) -> tuple[float, float, float]:
        """How many times the training, inference and memory of `plain`."""
        return self.training / plain.training, self.inference / plain.inference, self.memory / max(plain.memory, 1)


def measure(predictor: Predictor | PaiNN, batch: Batch, *, training: float, repeats: int = 5) -> Cost:
    """The cost of `predictor`, or of a plain network; `training` is what `seconds` found for its `fit`.

    Inference is the median of `repeats` predictions after one that is not counted. Raises ValueError for none.
    """
    if repeats < 1:
        raise ValueError(f"repeats: got {repeats}, expected at least 1")

    batch = batch.to(predictor.device)

    def call() -> object:
        return evaluate(predictor, batch) if isinstance(predictor, PaiNN) else predictor.predict(batch)

    call()
    times = [seconds(call, predictor.device)[0] for _ in range(repeats)]
    return Cost(training=training, inference=float(np.median(times)) / batch.n_structures, memory=peak_memory(call))


def seconds(call: Callable[[], Any], device: str | torch.device = "cpu") -> tuple[float, Any]:
    """Processor time of a call, all threads of this process together, and what it returned.

    Not time on the wall, which grows with whatever else the machine does. Other processes are not counted. What runs on
    a GPU has no other time than that on the wall, until the GPU has done its work.
    """
    if as_device(device).type == "cuda":
        torch.cuda.synchronize()
        start = time.perf_counter()
        result = call()
        torch.cuda.synchronize()
        return time.perf_counter() - start, result
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def peak_memory(call: Callable[[], object]) -> int:
    """Bytes of the tensors that operations make during a call, as many as are alive at a time.

    Counted from the operations themselves: the memory of the process would also show what the allocator keeps.
    """
    with _Ledger() as ledger:
        call()
    return ledger.highest


class _Ledger(TorchDispatchMode):
    """Writes down each new storage that an operation returns, and when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.highest = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in tree_leaves((args, kwargs)):  # what an operation works in place on or returns a view of
            if isinstance(tensor, Tensor):
                self.known.add(tensor.untyped_storage().data_ptr())
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                place, size = storage.data_ptr(), storage.nbytes()
                if size and place not in self.known:
                    self.known.add(place)
                    self.held += size
                    self.highest = max(self.highest, self.held)
                    weakref.finalize(storage, self._release, place, size)
        return result

    def _release(self, place: int, size: int) -> None:
        self.held -= size
        self.known.discard(place)
