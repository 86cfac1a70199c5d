"""Frozen records whose fields are checked when one is made, and described for help texts and tables. Pure.

Theory. The settings are read at the beginning of every run, and importing pydantic for them takes longer than all else
that a supervisor imports. What they need of it is small: numbers with bounds, flags, and fields that convert what they
are given. Values, messages and the names of the methods are those of a pydantic model, which the settings were.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Annotated, Any, ClassVar, Self, dataclass_transform, get_args, get_origin, get_type_hints

_MISSING: Any = object()

_ZEROS = re.compile(r"(?<=\d)\.0+\s*$")

_FLAGS = dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True) | dict.fromkeys(
    ("0", "false", "f", "no", "n", "off"), False
)


class FieldError(ValueError):
    """A value is none for a field of a record. `name` and `value` say which, `problem` what is wrong with it."""

    def __init__(self, name: str, value: object, problem: str) -> None:
        super().__init__(f"{name} = {value!r}: {problem}")
        self.name = name
        self.value = value
        self.problem = problem


class Converter:
    """Mark a field whose values `convert` makes of what is given. It raises ValueError for what it cannot use."""

    def __init__(self, convert: Callable[[Any], Any]) -> None:
        self.convert = convert


class RecordField:
    """Describe one field: its default, its bounds (`ge`, `gt`, `le`), what it is for, and the marks of its annotation.

    `exclude`: `model_dump` leaves it out. A field without a description is internal.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.default: Any = options.get("default", _MISSING)
        self.default_factory: Callable[[], Any] | None = options.get("default_factory")
        self.bounds = {name: options[name] for name in ("le", "ge", "gt") if options.get(name) is not None}
        self.description: str | None = options.get("description")
        self.exclude: bool = options.get("exclude", False)
        self.annotation: Any = None
        self.metadata: tuple[Any, ...] = ()
        self._kinds: tuple[Any, ...] = ()
        self._convert: Callable[[Any], Any] | None = None

    @property
    def minimum(self) -> Any:
        """Return the least value, if there is one."""
        return self.bounds.get("ge")

    def read_annotation(self, hint: Any) -> None:
        """Take over the type of the field, and its marks."""
        if get_origin(hint) is Annotated:
            hint, *marks = get_args(hint)
            self.metadata = tuple(mark for mark in marks if not isinstance(mark, Converter))
            self._convert = next((mark.convert for mark in marks if isinstance(mark, Converter)), None)
        self.annotation = hint
        self._kinds = get_args(hint) if get_origin(hint) is not dict and get_args(hint) else (hint,)

    def make_default(self) -> Any:
        """Return the default. Raises ValueError where there is none."""
        if self.default_factory is not None:
            return self.default_factory()
        if self.default is _MISSING:
            raise ValueError("Field required")
        return self.default

    def check(self, value: Any) -> Any:
        """Return the value as the field has it. Raises ValueError, whose text is for users."""
        if self._convert is not None:
            return self._convert(value)
        if value is None and NoneType in self._kinds:
            return None
        value = _READERS[self._kinds[0]](value) if self._kinds[0] in _READERS else self._record(value)
        for bound, limit in self.bounds.items():
            words, is_kept = _BOUNDS[bound]
            if not is_kept(value, limit):
                raise ValueError(f"Input should be {words} {_plain(limit)}")
        return value

    def _record(self, value: Any) -> Any:
        kind = self._kinds[0]
        if isinstance(value, kind):
            return value
        if isinstance(value, Mapping):
            return kind(**value)
        raise ValueError(f"Input should be a valid dictionary or instance of {kind.__name__}")


def field(
    *,
    default: Any = _MISSING,
    default_factory: Callable[[], Any] | None = None,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    description: str | None = None,
    exclude: bool = False,
) -> Any:
    """Return a field of a CheckedRecord; one without a default must be given. See RecordField."""
    return RecordField(locals())


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class CheckedRecord:
    """Hold fields that were checked. Raises FieldError for a value that is none, a field that is missing or unknown."""

    model_fields: ClassVar[dict[str, RecordField]] = {}
    model_fields_set: set[str]

    def __init_subclass__(cls) -> None:
        own = {name: value for name, value in vars(cls).items() if isinstance(value, RecordField)}
        hints = get_type_hints(cls, include_extras=True)
        for name, described in own.items():
            described.read_annotation(hints[name])
            delattr(cls, name)
        cls.model_fields = {**cls.model_fields, **own}

    def __init__(self, **given: Any) -> None:
        values = self.__dict__
        for name, described in self.model_fields.items():
            try:
                values[name] = described.check(given[name]) if name in given else described.make_default()
            except FieldError as error:
                raise FieldError(f"{name}.{error.name}", error.value, error.problem) from None
            except ValueError as error:
                raise FieldError(name, given.get(name, given), str(error)) from None
        unknown = next((name for name in given if name not in self.model_fields), None)
        if unknown is not None:
            raise FieldError(unknown, given[unknown], "Extra inputs are not permitted")
        values["model_fields_set"] = set(given)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be deleted")

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return ((name, self.__dict__[name]) for name in self.model_fields)

    def __eq__(self, other: object) -> bool:
        return dict(self) == dict(other) if isinstance(other, CheckedRecord) and type(self) is type(other) else False

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self)})"

    @classmethod
    def model_validate(cls, values: Mapping[str, Any]) -> Self:
        """Make a record of fields by name."""
        return cls(**values)

    def model_dump(self, *, mode: str = "python", exclude: set[str] | None = None) -> dict[str, Any]:
        """Return the fields by name, but for excluded ones; with mode "json" as JSON has them."""
        left_out = (exclude or set()) | {name for name, described in self.model_fields.items() if described.exclude}
        fields = {name: value for name, value in self if name not in left_out}
        fields = {
            name: value.model_dump() if isinstance(value, CheckedRecord) else value for name, value in fields.items()
        }
        return json.loads(json.dumps(fields)) if mode == "json" else fields

    def model_dump_json(self) -> str:
        """Return `model_dump` as JSON."""
        return json.dumps(self.model_dump(), ensure_ascii=False, separators=(",", ":"))

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """Return a copy, with other values in some fields. These are checked."""
        checked = type(self)(**(update or {}))
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__, **{name: getattr(checked, name) for name in update or {}})
        made.__dict__["model_fields_set"] = self.model_fields_set | set(update or {})
        return made


def _plain(limit: float) -> str:
    return str(int(limit)) if limit == int(limit) else str(limit)


def _read_int(value: Any) -> int:
    if isinstance(value, str):
        try:
            return int(_ZEROS.sub("", value))
        except ValueError:
            raise ValueError("Input should be a valid integer, unable to parse string as an integer") from None
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("Input should be a finite number")
        if not value.is_integer():
            raise ValueError("Input should be a valid integer, got a number with a fractional part")
        return int(value)
    try:
        return int(value.__index__())
    except AttributeError:
        raise ValueError("Input should be a valid integer") from None


def _read_float(value: Any) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise ValueError("Input should be a valid number, unable to parse string as a number") from None
    if not hasattr(value, "__float__") and not hasattr(value, "__index__"):
        raise ValueError("Input should be a valid number")
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError):
        raise ValueError("Input should be a valid number") from None


def _read_flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in (0, 1):
        return bool(value)
    if not isinstance(value, int | str):
        raise ValueError("Input should be a valid boolean")  # noqa: TRY004 - as for every other field
    flag = _FLAGS.get(str(value).lower())
    if flag is None:
        raise ValueError("Input should be a valid boolean, unable to interpret input")
    return flag


_READERS: dict[Any, Callable[[Any], Any]] = {int: _read_int, float: _read_float, bool: _read_flag}

_BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "le": ("less than or equal to", lambda value, limit: value <= limit),
    "ge": ("greater than or equal to", lambda value, limit: value >= limit),
    "gt": ("greater than", lambda value, limit: value > limit),
}
