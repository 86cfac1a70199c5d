"""What a reader of the journal sees of a value that JSON cannot carry: a JSON document made beside its pickle.

docs/values.md says what becomes what. A projection is not read back. Making one runs no code of the value's class (no
`__repr__`, property, serialiser or iterator), never fails, and is bounded in depth and size: an object with the key
`$omitted` stands where something was left out.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import importlib
import ipaddress
import math
import pathlib
import sys
import uuid
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import islice
from types import MemberDescriptorType
from typing import Any, Final

import msgspec

from runtime.ipc.pickling import type_name
from runtime.reasons import escape_surrogates

SIZE: Final = 1 << 20
"""Characters of a projection, roughly."""

DEPTH: Final = 50
"""Levels of it."""

TEXT: Final = 1 << 16
"""Characters of one text or bytes in it that are shown, at most."""

_LONGEST_INTEGER: Final = 10_000
"""Bits: longer ones are not worth their decimal digits, which cost quadratic time (and Python may refuse)."""

_encode = msgspec.json.Encoder().encode
_STANDARD: Final = frozenset(sys.stdlib_module_names)


def project(value: Any) -> bytes:
    """Return `{"type": …, "value": …}` as JSON."""
    try:
        return _encode({"type": escape_surrogates(type_name(value)), "value": _Projector().of(value, 0)})
    except (Exception, SystemExit, GeneratorExit):  # noqa: BLE001 - a metaclass can break even the question for a name
        return b'{"type":"?","value":{"$omitted":"it cannot be looked at"}}'


def _omitted(what: str) -> dict[str, str]:
    return {"$omitted": what}


class _Projector:
    """Makes one projection; counts what is left of its size."""

    def __init__(self) -> None:
        self._left = SIZE
        self._open: set[int] = set()  # containers that are being projected: to meet one again is a cycle

    def of(self, value: Any, depth: int) -> Any:
        self._left -= 8
        if self._left <= 0:
            return _omitted("the rest: it is too large")
        if depth > DEPTH:
            return _omitted(f"what is deeper than {DEPTH} levels")
        if id(value) in self._open:
            return _omitted("a cycle")
        self._open.add(id(value))
        try:
            return self._by_kind(value, depth + 1)
        except (Exception, SystemExit, GeneratorExit):  # noqa: BLE001 - a tzinfo of the user's, a broken object
            return self._unknown(value)
        finally:
            self._open.discard(id(value))

    def _by_kind(self, value: Any, depth: int) -> Any:
        if "pydantic.main" in sys.modules and not _PYDANTIC_KINDS:  # not imported for its own sake: it takes long
            _add_pydantic()
        for kind in type.__dict__["__mro__"].__get__(type(value)):  # nearest first: an Enum before the str that it is
            project = _KINDS.get(kind) or _PYDANTIC_KINDS.get(kind)
            if project is not None:
                return project(self, value, depth)
        if (numpy := sys.modules.get("numpy")) is not None:
            if issubclass(type(value), numpy.ndarray):
                return self._array(numpy, value, depth)
            if issubclass(type(value), numpy.generic):
                return self._scalar(numpy, value, depth)
        fields = _fields_of(type(value))
        if fields is not None:
            return self.object(_read_fields(value, fields), depth)
        return self._unknown(value)

    # -- atoms --------------------------------------------------------------------------------------

    def integer(self, value: int, _depth: int = 0) -> Any:
        if int.bit_length(value) > _LONGEST_INTEGER:
            return _omitted(f"a whole number of {int.bit_length(value)} bits")
        return msgspec.Raw(int.__repr__(value).encode())

    def number(self, value: float, _depth: int = 0) -> Any:
        plain = float.__float__(value)
        if math.isnan(plain):
            return "NaN"
        return plain if math.isfinite(plain) else ("Infinity" if plain > 0 else "-Infinity")

    def text(self, value: str, _depth: int = 0) -> Any:
        length = str.__len__(value)
        shown = escape_surrogates(str.__getitem__(value, slice(TEXT)))
        self._left -= len(shown)
        return shown if length <= TEXT else {"$text": shown, **_omitted(f"{length - TEXT} characters")}

    def octets(self, value: bytes | bytearray | memoryview, _depth: int = 0) -> Any:
        view = memoryview(value).cast("B")
        shown = b64encode(view[:TEXT]).decode()
        self._left -= len(shown)
        return shown if len(view) <= TEXT else {"$base64": shown, **_omitted(f"{len(view) - TEXT} bytes")}

    # -- containers ---------------------------------------------------------------------------------

    def items(self, values: Iterable[Any], length: int, depth: int) -> list[Any]:
        projections: list[Any] = []
        for value in values:
            if self._left <= 0:
                return [*projections, _omitted(f"{length - len(projections)} more")]
            projections.append(self.of(value, depth))
        return projections

    def set(self, value: Any, depth: int) -> list[Any]:
        kind = set if issubclass(type(value), set) else frozenset
        projections = self.items(kind.__iter__(value), kind.__len__(value), depth)
        return sorted(projections, key=_encode)  # a set has no order: two projections of it should not differ

    def mapping(self, value: dict[Any, Any], depth: int) -> Any:
        pairs = list(islice(dict.items(value), max(1, self._left)))
        names = [self._name(key, depth) for key, _ in pairs]
        if len(set(names)) < len(names):  # two keys that read the same must not become one
            return {"$items": self.items([(key, item) for key, item in pairs], len(pairs), depth)}
        return self.object(zip(names, (item for _, item in pairs), strict=True), depth, len(pairs))

    def _name(self, key: Any, depth: int) -> str:
        if type(key) is str:
            return escape_surrogates(key)
        shown = self.of(key, depth)
        return shown if isinstance(shown, str) else _encode(shown).decode()

    def object(self, pairs: Iterable[tuple[str, Any]], depth: int, length: int = 0) -> dict[str, Any]:
        projections: dict[str, Any] = {}
        for name, value in pairs:
            if self._left <= 0:
                return {**projections, **_omitted(f"{length - len(projections)} more" if length else "the rest")}
            self._left -= len(name)
            projections[name] = self.of(value, depth)
        return projections

    def _scalar(self, numpy: Any, value: Any, depth: int) -> Any:
        plain = value.item()
        if isinstance(value, numpy.datetime64 | numpy.timedelta64) or isinstance(plain, numpy.generic):
            return str(value)
        return self.of(plain, depth)

    def _array(self, numpy: Any, value: Any, depth: int) -> Any:
        array = numpy.asarray(value).view(numpy.ndarray)
        if array.size * 8 > self._left:
            about = {"$type": "numpy.ndarray", "dtype": str(array.dtype), "shape": list(array.shape)}
            return {**about, **_omitted("its items")}
        if array.dtype.kind in "OV":
            return self.of(array.tolist(), depth)
        return self.of(array.tolist() if array.dtype.kind in "biufcSU" else array.astype(str).tolist(), depth)

    # -- objects ------------------------------------------------------------------------------------

    def model(self, value: Any, depth: int) -> Any:
        fields = dict(_instance_dict(value))
        extra = object.__getattribute__(value, "__pydantic_extra__")
        return self.object({**fields, **(extra or {})}.items(), depth)

    def root_model(self, value: Any, depth: int) -> Any:
        return self.of(dict(_instance_dict(value)).get("root"), depth)

    def member(self, value: enum.Enum, depth: int) -> Any:
        return self.of(object.__getattribute__(value, "_value_"), depth)

    def _unknown(self, value: Any) -> dict[str, str]:
        """Return the mark of a value without projection; with its repr if that is Python's own."""
        kind = type(value)
        name = escape_surrogates(type_name(value))
        shown = f"<{name}>"
        if kind.__module__.partition(".")[0] in _STANDARD - {"__main__"}:
            with suppress(Exception, SystemExit, GeneratorExit):  # of something inside it
                shown = escape_surrogates(repr(value)[:500])
        return {"$type": name, "$repr": shown}


# -- reading fields without running code -------------------------------------------------------------


def _instance_dict(value: Any) -> Mapping[str, Any]:
    attributes = object.__getattribute__(value, "__dict__")
    return attributes if type(attributes) is dict else {}


def _fields_of(kind: type) -> list[str] | None:
    """Return the names of the fields of a dataclass, an attrs class or a msgspec Struct; None for any other type."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    names = getattr(kind, "__struct_fields__", None)
    if isinstance(names, tuple):
        return list(names)
    attributes = getattr(kind, "__attrs_attrs__", None)
    return [attribute.name for attribute in attributes] if isinstance(attributes, tuple) else None


def _read_fields(value: Any, names: Iterable[str]) -> Iterable[tuple[str, Any]]:
    try:
        own = _instance_dict(value)
    except AttributeError:  # slots
        own = {}
    for name in names:
        if name in own:
            yield name, own[name]
            continue
        member = next((vars(kind)[name] for kind in type(value).__mro__ if name in vars(kind)), None)
        if isinstance(member, MemberDescriptorType):
            try:
                yield name, member.__get__(value, type(value))
            except AttributeError:  # never set
                pass


# -- what becomes what -------------------------------------------------------------------------------

_Projection = Callable[[_Projector, Any, int], Any]


def _as_text(function: Callable[[Any], str]) -> _Projection:
    return lambda projector, value, _: projector.text(function(value))


_KINDS: Final[dict[type, _Projection]] = {
    type(None): lambda _projector, value, _: value,
    bool: lambda _projector, value, _: value,
    int: _Projector.integer,
    float: _Projector.number,
    complex: _as_text(lambda value: complex.__repr__(value).strip("()")),
    str: _Projector.text,
    bytes: _Projector.octets,
    bytearray: _Projector.octets,
    memoryview: _Projector.octets,
    list: lambda projector, value, depth: projector.items(list.__iter__(value), list.__len__(value), depth),
    tuple: lambda projector, value, depth: projector.items(tuple.__iter__(value), tuple.__len__(value), depth),
    deque: lambda projector, value, depth: projector.items(deque.__iter__(value), deque.__len__(value), depth),
    set: _Projector.set,
    frozenset: _Projector.set,
    dict: _Projector.mapping,
    dt.datetime: _as_text(dt.datetime.isoformat),
    dt.date: _as_text(dt.date.isoformat),
    dt.time: _as_text(dt.time.isoformat),
    dt.timedelta: _as_text(lambda value: str(msgspec.to_builtins(dt.timedelta.__add__(value, dt.timedelta())))),
    decimal.Decimal: _as_text(decimal.Decimal.__str__),
    fractions.Fraction: _as_text(fractions.Fraction.__str__),
    uuid.UUID: _as_text(uuid.UUID.__str__),
    pathlib.PurePath: _as_text(pathlib.PurePath.__str__),
    ipaddress.IPv4Address: _as_text(ipaddress.IPv4Address.__str__),
    ipaddress.IPv6Address: _as_text(ipaddress.IPv6Address.__str__),
    ipaddress.IPv4Network: _as_text(ipaddress.IPv4Network.__str__),
    ipaddress.IPv6Network: _as_text(ipaddress.IPv6Network.__str__),
    enum.Enum: _Projector.member,
}

_PYDANTIC_KINDS: Final[dict[type, _Projection]] = {}
"""Those of pydantic, once some code has imported it: before, no value can be of one."""


def _add_pydantic() -> None:
    pydantic = importlib.import_module("pydantic")
    _PYDANTIC_KINDS[pydantic.BaseModel] = _Projector.model
    _PYDANTIC_KINDS[pydantic.RootModel] = _Projector.root_model
    for kind in (pydantic.SecretStr, pydantic.SecretBytes):
        _PYDANTIC_KINDS[kind] = _as_text(lambda _: "**********")
