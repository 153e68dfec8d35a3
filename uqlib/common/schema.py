"""Files of settings, held to what they may say: names, types and ranges are checked before anything runs.

The types are those of the dataclasses and functions that the settings go to; `pydantic` does the checking, and takes
no text for a number and no fraction for a whole one.
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

Built = TypeVar("Built")
Model = TypeVar("Model", bound=BaseModel)
STRICT = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
RESERVED = ("checkpoints",)  # folders beside those of a name

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]*( [A-Za-z0-9_+-]+)*$", max_length=60)]
"""What becomes a folder or a file: letters, digits, `_`, `-`, `+` and single spaces."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(gt=0)]


class Strict(BaseModel):
    """The base of all tables: nothing but what is listed, and of that type."""

    model_config = STRICT


def read_toml(path: Path) -> dict[str, Any]:
    """A file's tables, lists as tuples. Raises ValueError naming the file, for what is no TOML."""
    try:
        return _tuples(tomllib.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:  # of decoding, too
        raise ValueError(f"{path}: not TOML ({error})") from error


def checked(model: type[Model], table: Any, where: str = "") -> Model:
    """The table as `model` has it. Raises ValueError naming the place, what stood there, and what was expected."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise ValueError(_words(error, where, model)) from None


def build(kind: type[Built], table: Any, where: str) -> Built:
    """An object of the dataclass `kind` from a table that names its fields. Raises ValueError as `checked`."""
    found = checked(_of_dataclass(kind), table, where)
    try:
        return kind(**{name: getattr(found, name) for name in found.model_fields_set})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def check_options(target: Callable[..., Any] | Any, options: Mapping[str, Any], where: str) -> None:
    """Hold some options to the types that a function, a class, or the fields of an object have for them."""
    checked(_some_of(target if inspect.isroutine(target) or inspect.isclass(target) else type(target)), options, where)


def check_names(names: Mapping[str, Any], where: str) -> None:
    """Refuse names that cannot be those of folders. Raises ValueError naming them."""

    class Names(Strict):
        names: tuple[Name, ...]

    checked(Names, {"names": tuple(names)}, where)
    if taken := [name for name in names if name.lower() in RESERVED]:
        raise ValueError(f"{where}: got the name {taken[0]!r}, which is that of a folder of ours; take another")
    lower = [name.lower() for name in names]
    if len(set(lower)) < len(lower):
        raise ValueError(f"{where}: got {sorted(names)}, expected names that differ in more than small and capital")


def check_seeds(seeds: tuple[int, ...], where: str) -> None:
    """Refuse seeds that are none, negative, or there twice: they would count as independent."""

    class Seeds(Strict):
        seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]

    checked(Seeds, {"seeds": seeds}, where)
    check_different(seeds, where)


def check_different(values: tuple[Any, ...], where: str) -> None:
    """Raise ValueError where something stands twice."""
    if twice := sorted({value for value in values if values.count(value) > 1}):
        raise ValueError(f"{where}: got {twice[0]!r} twice, expected each once")


@cache
def _of_dataclass(kind: type) -> type[BaseModel]:
    hints = get_type_hints(kind)
    known: Any = {}
    for each in fields(kind):
        optional = each.default is not MISSING or each.default_factory is not MISSING
        known[each.name] = (_loose(hints[each.name]), None if optional else ...)
    return create_model(kind.__name__, __config__=STRICT, **known)


@cache
def _some_of(target: Any) -> type[BaseModel]:
    if is_dataclass(target):
        names = [each.name for each in fields(target)]
    else:
        names = [name for name in inspect.signature(target).parameters if name != "self"]
    hints = get_type_hints(target.__init__ if inspect.isclass(target) and not is_dataclass(target) else target)
    known: Any = {name: (_loose(hints.get(name, Any)), None) for name in names}
    return create_model("Options", __config__=STRICT, **known)


def _loose(hint: Any) -> Any:
    """What pydantic cannot look into, protocols and classes of others, is left to the class that gets it."""
    try:
        create_model("Probe", __config__=STRICT, probe=(hint, ...)).model_validate({"probe": None})
    except ValidationError:
        return hint
    except Exception:  # whatever it stumbles on while it looks
        return Any
    return hint


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(found) for key, found in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _words(error: ValidationError, where: str, model: type[BaseModel]) -> str:
    """The first fault in one line, as all errors of the library are."""
    faults = sorted(
        error.errors(), key=lambda found: found["type"] != "extra_forbidden"
    )  # a typo, before what it lacks
    first = faults[0]
    place = ".".join([*([where] if where else []), *map(str, first["loc"])]) or "the file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    table, _, entry = place.rpartition(".")
    if first["type"] == "missing":
        return f"{table or 'the file'}: has no entry {entry!r}{more}"
    if first["type"] == "extra_forbidden":
        known = f", expected some of {', '.join(sorted(_fields_at(model, first['loc'][:-1])))}"
        return f"{table or 'the file'}: got the entry {entry!r}{known}{more}"
    expected = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{place}: got {first['input']!r:.80}, expected {expected}{more}"


def _fields_at(model: Any, place: tuple[int | str, ...]) -> list[str]:
    """Which entries the table at a place may have."""
    for part in place:
        if inspect.isclass(model) and issubclass(model, BaseModel):
            model = model.model_fields[str(part)].annotation
        else:  # of a mapping or a list, what is in it
            model = get_args(model)[-1]
    return list(model.model_fields)
