"""Pickles of what JSON cannot say, and of agents.

Classes and functions travel by name: those of modules as everywhere, those of a script as main_module.py says. By value
go a lambda, a closure, a local class, and what was typed at a prompt or into a notebook; cloudpickle does that, and
knows a class again that it has met, so one class stays one class in each process.

A pickle begins with a small one of its own, the `Head`: which script `__main__` was, and the type of what follows.

Rejected: dill, which makes a new class of every pickle that carries one, refuses what has a metaclass, a TypeVar or a
ContextVar, and is ten times slower, because its pickler is written in Python.
"""

from __future__ import annotations

import io
import pickle
import socket
import sys
import weakref
from collections.abc import Callable
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, Final

import cloudpickle

from runtime.failure import MAIN_NAMES
from runtime.ipc.main_module import (
    MainLocation,
    look_up,
    main_module,
    main_place,
    name_in_main,
    place_in_name,
)

ReduceFirst = Callable[[Any], Any]

_CONNECTIONS: Final = ("multiprocessing.connection", "multiprocess.connection")


def type_name(value: Any) -> str:
    """Return the name of a value's type, with its module unless that is builtins."""
    kind = type(value)
    module = "__main__" if kind.__module__ in MAIN_NAMES else kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def dump(value: Any, reduce_first: ReduceFirst | None = None) -> bytes:
    """Pickle a value. Raises whatever its own code, or what cannot be pickled, raises.

    `reduce_first` is asked for each object before anything else: it returns a reduction (`object.__reduce__`), or
    NotImplemented.
    """
    body = io.BytesIO()
    if reduce_first is None:
        _Pickler(body, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    else:
        _ReducingPickler(body, reduce_first).dump(value)
    data = body.getvalue()
    has_main = any(name.encode() in data for name in MAIN_NAMES)
    place = main_place() if has_main else None
    return pickle.dumps((place and tuple(place), type_name(value)), pickle.HIGHEST_PROTOCOL) + data


def read_type(data: bytes) -> str:
    """Return the name of the type that a pickle is of. Executes code, as `load` does."""
    return str(pickle.loads(data)[1])  # noqa: S301 - in the process of an agent or of a caller


def load(data: bytes) -> Any:
    """Return the value. Executes code, and raises whatever that raises."""
    file = io.BytesIO(data)
    place, _ = pickle.load(file)  # noqa: S301 - (likewise)
    return _Unpickler(file, place and MainLocation(*place)).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, place: MainLocation | None) -> None:
        super().__init__(file)
        self._place = place

    def find_class(self, module: str, name: str) -> Any:
        """Look a global up; those of a script in that script."""
        place = self._place if module in MAIN_NAMES else place_in_name(module)
        return super().find_class(module, name) if place is None else look_up(main_module(place), name)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def reducer_override(self, obj: Any) -> Any:
        """Say how an object is pickled that is no str, list and the like."""
        _refuse_borrowed(obj)
        if (name := name_in_main(obj)) is not None:
            return name
        if type(obj) is FunctionType:
            place = main_place()
            if place is not None and obj.__globals__ is vars(sys.modules["__main__"]):
                return _reduce_function(obj, place)
        if type(obj) is memoryview:
            return _reduce_memoryview(obj)
        if type(obj) is MethodType and _is_found_by_name(obj):
            return getattr, (obj.__self__, obj.__func__.__name__)
        reduced = super().reducer_override(obj)
        if issubclass(type(obj), type) and isinstance(reduced, tuple) and len(reduced) == 6:  # a class by value
            _complete.add(obj)
            return (*reduced[:5], _Completion(reduced[5]))
        return reduced


class _ReducingPickler(_Pickler):
    """A pickler that asks another function first. A class of its own: the other one has no time for a question."""

    def __init__(self, file: io.BytesIO, reduce_first: ReduceFirst) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._reduce_first = reduce_first

    def reducer_override(self, obj: Any) -> Any:
        reduced = self._reduce_first(obj)
        return super().reducer_override(obj) if reduced is NotImplemented else reduced


def _refuse_borrowed(value: Any) -> None:
    """Refuse what only this process can give out again. Raises TypeError.

    Pickles outlive their process, so no descriptor can be handed over; and cloudpickle makes another type of a file.
    """
    is_connection = any(
        (module := sys.modules.get(name)) is not None and issubclass(type(value), module._ConnectionBase)  # noqa: SLF001
        for name in _CONNECTIONS
    )
    kind = type(value)  # `isinstance` would ask the value for its class, and a mock has any
    is_file = issubclass(kind, io.IOBase) and not issubclass(kind, io.BytesIO | io.StringIO)
    if is_connection or is_file or issubclass(kind, socket.socket):
        raise TypeError(f"cannot pickle {type(value).__name__!r} object: it would not outlive its process")


# -- functions without a name -----------------------------------------------------------------------


def _reduce_function(function: FunctionType, place: MainLocation) -> tuple[Any, ...]:
    """Reduce a function of a script to its code; its globals are those of the script, wherever it is imported."""
    state = {
        "__qualname__": function.__qualname__,
        "__doc__": function.__doc__,
        "__defaults__": function.__defaults__,
        "__kwdefaults__": function.__kwdefaults__,
        "__annotations__": function.__annotations__,
    }
    cells = [_content(cell) for cell in function.__closure__ or ()]
    arguments = (tuple(place), function.__code__, function.__name__, len(cells))
    return _make_function, arguments, (state, function.__dict__, cells), None, None, _fill_function


def _content(cell: CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # not assigned yet
        return ()


def _make_function(place: tuple[str, str], code: CodeType, name: str, cells: int) -> FunctionType:
    closure = tuple(CellType() for _ in range(cells)) if cells else None
    return FunctionType(code, vars(main_module(MainLocation(*place))), name, None, closure)


def _fill_function(function: FunctionType, state: tuple[dict[str, Any], dict[str, Any], list[tuple[Any, ...]]]) -> None:
    attributes, namespace, cells = state
    for name, value in attributes.items():
        setattr(function, name, value)
    function.__dict__.update(namespace)
    for cell, content in zip(function.__closure__ or (), cells, strict=True):
        if content:
            cell.cell_contents = content[0]


# -- classes without a name -------------------------------------------------------------------------

_complete: weakref.WeakSet[type] = weakref.WeakSet()
"""Classes that have their attributes: made here, or read from an earlier pickle."""


class _Completion:
    """Gives a class that was read its attributes: once, so that what is set on it later stays."""

    def __init__(self, fill: Any) -> None:
        self._fill = fill

    def __call__(self, made: type, state: Any) -> None:
        if made not in _complete:
            self._fill(made, state)
            _complete.add(made)


def _is_found_by_name(method: MethodType) -> bool:
    """Return whether a method is what its object has under its name. cloudpickle sends class methods by value."""
    try:
        return bool(getattr(method.__self__, method.__func__.__name__, None) == method)
    except Exception:  # noqa: BLE001 - the object's own `__getattr__` or `__eq__`
        return False


def _reduce_memoryview(view: memoryview) -> tuple[Any, ...]:
    data = view.tobytes() if view.readonly else bytearray(view.tobytes())
    return _make_memoryview, (data, view.format, view.shape)


def _make_memoryview(data: bytes | bytearray, form: str, shape: tuple[int, ...]) -> memoryview:
    flat = memoryview(data)
    return flat if form == "B" and len(shape) == 1 else flat.cast(form, shape)  # type: ignore[call-overload]
