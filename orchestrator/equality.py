"""Compare two values whose pickles may differ although nothing changed. Pure.

Theory. The bytes of a pickle depend on more than the value: sets and dicts keep an order that differs from process
to process, and a class that was sent by value is a new class wherever it arrives. `==` alone does not do either:
objects without `__eq__` equal nothing but themselves, NaN not even that, and an array answers with an array. So
containers are compared element by element, and any other object by what pickle would keep of it (`__reduce_ex__`).
Only what cannot be taken apart like that is asked for its own `__eq__`.

Rejected: to believe `__eq__` wherever it says yes. `Decimal("1.0") == Decimal("1.00")`, a dataclass of 1 equals one of
True, a model equals another one with the same primary key: each of these is another input, with another result.

Rejected: hashes of a canonical pickle (joblib.hash). They would have to be computed for every input of every run,
also of those that are never resumed, and change with the version of any library whose objects are inside.
"""

from __future__ import annotations

import copyreg
import types
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

_NAMED: Final = (type, types.BuiltinFunctionType, types.ModuleType)
_CONTAINERS: Final = frozenset({dict, set, frozenset, list, tuple})
_BESIDE: Final = ("__dict__", "default_factory")
_LARGEST_UNHASHED: Final = 1000
"""Elements of a set that are compared each with each, at most."""


def are_equal(left: Any, right: Any) -> bool:
    """Compare types and values at every depth. Calls the values' own `__eq__` and `__reduce_ex__`; never raises."""
    try:
        return _Comparison().equal(left, right)
    except Exception:  # noqa: BLE001 - the values' own code, or too deep: what cannot be compared is not known to be equal
        return False


class _Comparison:
    """Compare two values once. Pairs that are under way, or done, count as equal: so cycles end."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()
        self._alive: list[Any] = []  # an id belongs to its object only as long as that lives

    def equal(self, left: Any, right: Any) -> bool:
        if left is right:
            return True
        if not _is_same_type(type(left), type(right)):
            return False
        if type(left) in _ATOMS:
            return bool(_ATOMS[type(left)](left) == _ATOMS[type(left)](right))
        pair = (id(left), id(right))
        if pair in self._seen:
            return True
        self._seen.add(pair)
        self._alive.append((left, right))
        return self._by_kind(left, right)

    def _by_kind(self, left: Any, right: Any) -> bool:
        if isinstance(left, _NAMED):
            return _name(left) == _name(right)
        if isinstance(left, types.FunctionType):
            same_code = _instructions(left.__code__) == _instructions(right.__code__)
            return same_code and _name(left) == _name(right) and self.equal(_bound(left), _bound(right))
        if isinstance(left, dict):
            return self._dicts(left, right) and self._attributes(left, right)
        if isinstance(left, set | frozenset):
            return self._sets(left, right) and self._attributes(left, right)
        if isinstance(left, list | tuple):
            return self._rows(left, right) and self._attributes(left, right)
        return self._objects(left, right)

    def _rows(self, left: Iterable[Any], right: Iterable[Any]) -> bool:
        left, right = list(left), list(right)
        return len(left) == len(right) and all(map(self.equal, left, right))

    def _dicts(self, left: dict[Any, Any], right: dict[Any, Any]) -> bool:
        if isinstance(left, OrderedDict):
            return self._rows(left.items(), right.items())
        if len(left) != len(right):
            return False
        if _have_same_elements(left, right):
            return all(self.equal(value, right[key]) for key, value in left.items())
        return _match(list(left.items()), list(right.items()))

    def _sets(self, left: Any, right: Any) -> bool:
        if len(left) != len(right):
            return False
        return _have_same_elements(left, right) or _match(list(left), list(right))

    def _attributes(self, left: Any, right: Any) -> bool:
        """Compare what an instance of a container's subclass has beside its elements."""
        if type(left) in _CONTAINERS:
            return True
        return all(self.equal(getattr(left, name, None), getattr(right, name, None)) for name in _BESIDE)

    def _objects(self, left: Any, right: Any) -> bool:
        try:
            states = _reduced(left), _reduced(right)
        except Exception:  # noqa: BLE001 - the object's own code; only cloudpickle can take it apart, or nothing can
            return (left == right) is True
        return self._states(*states)

    def _states(self, left: Any, right: Any) -> bool:
        if isinstance(left, str) or isinstance(right, str):  # the name of a global
            return bool(left == right)
        left, right = (*left, None, None, None)[:5], (*right, None, None, None)[:5]
        head = self._rows(left[:3], right[:3])
        return (
            head
            and self._rows(left[3] or (), right[3] or ())
            and self._dicts(dict(left[4] or ()), dict(right[4] or ()))
        )


_ATOMS: Final[dict[type, Callable[[Any], Any]]] = {
    bool: bool, int: int, str: str, bytes: bytes, type(None): repr, float: repr, complex: repr,
}  # fmt: skip
"""The types whose values are compared as they are. The text of a float tells NaN from nothing, and 0.0 from -0.0."""


def _have_same_elements(left: Collection[Any], right: Collection[Any]) -> bool:
    """Look each element up by its hash. `1` finds True, and `0.0` finds `-0.0`: so what was found is compared, too."""
    theirs = {element: element for element in right}
    return all(element in theirs and are_equal(element, theirs[element]) for element in left)


def _match(left: list[Any], right: list[Any]) -> bool:
    """Pair each element with an equal one; for elements whose hash is their identity."""
    if len(left) > _LARGEST_UNHASHED:
        return False
    for element in left:
        place = next((at for at, candidate in enumerate(right) if are_equal(element, candidate)), None)
        if place is None:
            return False
        del right[place]
    return True


def _reduced(value: Any) -> Any:
    """Return what pickle keeps of an object."""
    reduce = copyreg.dispatch_table.get(type(value))
    return value.__reduce_ex__(4) if reduce is None else reduce(value)


def _instructions(code: types.CodeType) -> tuple[Any, ...]:
    """Return what a function does, wherever it stands in its file."""
    return code.co_code, code.co_names, [_constant(value) for value in code.co_consts]


def _constant(value: Any) -> tuple[Any, ...]:
    """Return a constant of a function, comparable. A set of constants has the order in which it was made: ignore it."""
    if isinstance(value, types.CodeType):
        return _instructions(value)
    return type(value), sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)


def _bound(function: types.FunctionType) -> Any:
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    return function.__defaults__, function.__kwdefaults__, cells


def _is_same_type(left: type, right: type) -> bool:
    """Return whether two types are the same: a class that was sent by value is another object with the same name."""
    return left is right or _name(left) == _name(right)


def _name(value: Any) -> tuple[Any, Any]:
    return getattr(value, "__module__", None), getattr(value, "__qualname__", getattr(value, "__name__", None))
