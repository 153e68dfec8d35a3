"""A GPU for machines without one: tensors that carry its name and refuse to meet those that do not.

The numbers are computed on the CPU, by the same kernels: results on the pretended device are those of the CPU digit for
digit, and whoever forgets to move a tensor gets the error that a GPU gives. What it cannot show: memory, speed, and
kernels that differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


@contextmanager
def gpu() -> Iterator[None]:
    """While it lasts, torch sees a GPU: `tensor.to("cuda")` and `torch.zeros(3, device="cuda")` work."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "is_available": True, "device_count": 1, "get_device_name": "a pretended GPU",
            "mem_get_info": (10**10, 10**10), "memory_reserved": 0, "memory_allocated": 0, "synchronize": None,
        }.items():  # fmt: skip
            patch.setattr(torch.cuda, name, lambda *_, value=value, **__: value)
        with _Meetings() as meetings, _Calls(meetings):
            yield


def put(found: Any, device: torch.device | None) -> Any:
    """Say of every tensor in `found` that it lies there: a note on its storage, which all views of it share."""
    for tensor in tree_leaves(found):
        if isinstance(tensor, Tensor):
            tensor.untyped_storage().lies_on = device  # pyright: ignore[reportAttributeAccessIssue]
    return found


def place_of(tensor: Tensor) -> torch.device | None:
    """None for what an operation made up on its way, which a real one would have made where it is needed."""
    return getattr(tensor.untyped_storage(), "lies_on", CPU)


class _Meetings(TorchDispatchMode):
    """Every operation: its tensors must be in one place, numbers without axes excepted; so are its results."""

    makes_up = False  # while an operation runs that makes tensors of its own, like those that it was given

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        places = [place_of(tensor) for tensor in tensors]
        if func is torch.ops.aten.copy_.default:
            return func(*args, **kwargs)  # from anywhere to anywhere, into what there is
        if GPU in places and any(p == CPU and tensor.ndim for p, tensor in zip(places, tensors, strict=True)):
            raise RuntimeError(f"Expected all tensors to be on the same device, but {func} got some on each")
        result = func(*args, **kwargs)
        if not places and self.makes_up:
            return put(result, None)
        return put(result, GPU) if GPU in places else result


class _Calls(TorchFunctionMode):
    """What is asked for by the name of a device, before it comes down to operations."""

    def __init__(self, meetings: _Meetings) -> None:
        super().__init__()
        self.meetings = meetings

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if first is not None:
            if func == Tensor.device.__get__:  # pyright: ignore[reportAttributeAccessIssue]
                return place_of(first) or GPU
            if func in (Tensor.numpy, Tensor.__array__) and place_of(first) == GPU:
                raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
            if func is Tensor.cpu:
                return self._moved(first, CPU)
            if func is Tensor.to:
                return self._to(first, args[1:], kwargs)
            if func is Tensor.__deepcopy__:
                return put(func(*args, **kwargs), place_of(first))
        if kwargs.get("device") is None:
            given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            self.meetings.makes_up = GPU in map(place_of, given)
            try:
                result = func(*args, **kwargs)
            finally:
                self.meetings.makes_up = False
            if first is not None and func is Tensor.new_tensor:
                return put(result, place_of(first))
            made_up = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and place_of(leaf) is None]
            put(made_up, GPU)
            return result
        device = _place(kwargs.pop("device"))
        if device == GPU and isinstance(kwargs.get("generator"), torch.Generator):
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        if func is torch.as_tensor and first is not None:
            return self._to(first, (device,), kwargs)
        return put(func(*args, **kwargs), device)

    def _to(self, tensor: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Its device apart from the rest of what `to` takes."""
        like = [arg for arg in args if isinstance(arg, Tensor)]
        given = [*args, kwargs.pop("device", None), *(place_of(other) for other in like)]
        places = [_place(value) for value in given if isinstance(value, str | torch.device)]
        rest: list[Any] = [arg for arg in args if isinstance(arg, torch.dtype)] + [other.dtype for other in like]
        kwargs.pop("non_blocking", None)
        found: Tensor = tensor.to(*rest, **kwargs) if rest or kwargs else tensor
        return self._moved(found, places[0]) if places else found

    def _moved(self, tensor: Tensor, device: torch.device) -> Tensor:
        return tensor if place_of(tensor) == device else put(tensor.clone(), device)


def _place(value: Any) -> torch.device:
    return GPU if torch.device(value).type == "cuda" else CPU
