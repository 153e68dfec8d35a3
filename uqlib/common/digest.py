"""What a thing is, as a number: a SHA-256 of its content, for runs, labels and checkpoints that must not be mixed up.

A `repr` is no identity: it abbreviates arrays, hides fields, and may hold an address in memory. Here everything counts:
type and shape of arrays, all fields that count when two are compared, and the code of functions and classes, by the
version of the package that they come from, or else by their source.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
import sys
import textwrap
import types
from collections.abc import Iterable, Mapping, Set
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

import ase
import numpy as np
import torch

DEEPEST = 50  # of things within things; what goes deeper holds itself
REMEDY = (
    "make it of plain data (a dataclass with numbers, strings, arrays), or give its class a method "
    "`identity()` that returns plain data"
)


def digest_of(value: Any, what: str = "value") -> str:
    """64 hexadecimal digits of the content of `value`, the same in every process of one Python.

    Plain data, arrays, tensors, structures, dataclasses, mappings, sets, functions with what they enclose, and objects
    with attributes. A class may say itself what counts, with a method `identity()` that returns such a thing.

    Raises:
        ValueError: there is something in it without a stable identity (an open file, a lock, a generator); `what` names
            it there.
    """
    return _Digest(what).of(value).hex()


class _Digest:
    def __init__(self, what: str) -> None:
        self.what = what
        self.inside: list[int] = []  # what is being looked into

    def of(self, value: Any) -> bytes:
        if len(self.inside) > DEEPEST or id(value) in self.inside:
            raise ValueError(f"{self.what}: has no stable identity: it holds itself; {REMEDY}")
        self.inside.append(id(value))
        try:
            return hashlib.sha256(b"".join(_framed(part) for part in self.parts(value))).digest()
        finally:
            self.inside.pop()

    def parts(self, value: Any) -> list[bytes]:
        """What counts, of what kind it is first."""
        kind = type(value)
        if value is None or kind in (bool, int, float, complex, str):
            return [kind.__name__.encode(), repr(value).encode("utf-8", "surrogatepass")]
        if isinstance(value, bytes | bytearray):
            return [b"bytes", bytes(value)]
        if isinstance(value, np.generic | np.ndarray):
            return self.array(np.asarray(value))
        if isinstance(value, torch.Tensor):
            return [b"tensor", str(value.dtype).encode(), *self.array(_bits(value))]
        if isinstance(value, torch.dtype | torch.device | PurePath):
            return [b"named", str(value).encode()]
        if isinstance(value, enum.Enum):
            return [b"enum", self.of(kind), value.name.encode()]
        if isinstance(value, type):
            return [b"class", value.__qualname__.encode(), _code_of(value)]
        if isinstance(value, functools.partial):
            return [b"partial", *self.all((value.func, value.args, value.keywords))]
        if isinstance(value, types.MethodType):
            return [b"method", *self.all((value.__func__, value.__self__))]
        if isinstance(value, types.FunctionType):
            return [b"function", value.__qualname__.encode(), _code_of(value), *self.enclosed(value)]
        if isinstance(value, types.BuiltinFunctionType | np.ufunc):
            return [b"builtin", str(getattr(value, "__module__", "")).encode(), value.__name__.encode()]
        return self.of_objects(value)

    def of_objects(self, value: Any) -> list[bytes]:
        """Containers, dataclasses, and whatever has attributes."""
        kind = [b"object", self.of(type(value))]
        if isinstance(value, ase.Atoms):
            return [*kind, *self.all(_structure(value))]
        if callable(own := getattr(value, "identity", None)):
            return [*kind, self.of(own())]
        if is_dataclass(value):
            counted = {f.name: getattr(value, f.name) for f in fields(value) if f.compare}
            return [*kind, self.of(counted)]
        if isinstance(value, Mapping):
            return [*kind, *sorted(self.of(key) + self.of(found) for key, found in value.items())]
        if isinstance(value, Set):
            return [*kind, *sorted(self.all(value))]
        if isinstance(value, list | tuple):
            return [*kind, *self.all(value)]
        return [*kind, self.of(self.attributes(value))]

    def attributes(self, value: Any) -> dict[str, Any]:
        names = {n for base in type(value).__mro__ for n in _slots(base)}
        found = {n: getattr(value, n) for n in names if hasattr(value, n)} | getattr(value, "__dict__", {})
        if isinstance(value, torch.nn.Module):
            found = {name: kept for name, kept in found.items() if "hook" not in name}
        foreign = type(value).__module__ in ("builtins", "_io", "_thread", "threading", "io", "_random", "socket")
        if foreign or (not found and type(value).__module__.partition(".")[0] in sys.stdlib_module_names):
            raise ValueError(f"{self.what}: a {type(value).__name__} has no stable identity; {REMEDY}")
        return found

    def array(self, array: np.ndarray) -> list[bytes]:
        if array.dtype.hasobject:
            return [b"objects", str(array.shape).encode(), *self.all(array.ravel().tolist())]
        return [b"array", array.dtype.str.encode(), str(array.shape).encode(), np.ascontiguousarray(array).tobytes()]

    def enclosed(self, function: types.FunctionType) -> list[bytes]:
        """Defaults, and the values that a function took along from where it was made."""
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        cells = [None if cell is function else cell for cell in cells]  # a function that calls itself
        return self.all((function.__defaults__, function.__kwdefaults__, cells))

    def all(self, values: Iterable[Any]) -> list[bytes]:
        return [self.of(value) for value in values]


def _structure(atoms: ase.Atoms) -> list[Any]:
    """What is computed with: elements, places, cell, constraints, labels, and the group that it belongs to."""
    labels = {} if atoms.calc is None else dict(atoms.calc.results)
    held = [constraint.todict() for constraint in atoms.constraints]
    return [atoms.numbers, atoms.positions, np.asarray(atoms.cell), atoms.pbc, held, labels, atoms.info.get("group")]


def _framed(part: bytes) -> bytes:
    """With its length before it: [a, bc] and [ab, c] are two things."""
    return len(part).to_bytes(8, "little") + part


def _bits(tensor: torch.Tensor) -> np.ndarray:
    plain = tensor.detach().cpu().contiguous()
    return plain.view(torch.uint8).numpy() if plain.dtype == torch.bfloat16 else plain.numpy()


def _slots(base: type) -> tuple[str, ...]:
    slots = base.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(n for n in slots if n not in ("__dict__", "__weakref__"))


@functools.lru_cache(maxsize=1000)
def _code_of(thing: Any) -> bytes:
    """Version of the package that a class or function comes from, or else its source, or else its compiled code."""
    home = getattr(thing, "__module__", None) or ""
    package = home.partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", None)
    if isinstance(version, str):
        return f"{home} {version}".encode()
    if package in sys.stdlib_module_names and package != "__main__":
        return home.encode()
    try:
        return textwrap.dedent(inspect.getsource(thing)).encode()
    except (OSError, TypeError):
        return _compiled(thing)


def _compiled(thing: Any) -> bytes:
    if isinstance(thing, types.FunctionType):
        thing = thing.__code__
    if isinstance(thing, types.CodeType):
        constants = [_compiled(c) if isinstance(c, types.CodeType) else repr(c).encode() for c in thing.co_consts]
        return b"".join(map(_framed, (thing.co_code, " ".join(thing.co_names).encode(), *constants)))
    functions = {name: f for name, f in vars(thing).items() if isinstance(f, types.FunctionType)}
    return b"".join(_framed(name.encode()) + _framed(_compiled(f)) for name, f in sorted(functions.items()))
