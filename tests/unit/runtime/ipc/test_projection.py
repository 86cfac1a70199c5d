"""What readers see of a value that JSON cannot carry."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import json
import pathlib
import uuid
from typing import Any

import attrs
import pydantic
import pytest
from hypothesis import given

from runtime.ipc import codec, projection
from tests.support.kinds import Colour, Model, Pair, Plain, Point, Record, Slotted, Weekday
from tests.support.values import VALUES


def shown(value: Any) -> Any:
    return json.loads(projection.project(value))["value"]


@attrs.define
class Attrs:
    x: int
    y: int = 2


class Flexible(pydantic.BaseModel, extra="allow"):
    secret: pydantic.SecretStr


class Roots(pydantic.RootModel[list[int]]):
    pass


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2,)), [1, [2]]),
        (Point(1, 2), [1, 2]),
        ({2, 1}, [1, 2]),
        (frozenset("ba"), ["a", "b"]),
        (collections.deque([1]), [1]),
        ({1: "a", None: "b", 1.5: "c"}, {"1": "a", "null": "b", "1.5": "c"}),
        ({1: "a", "1": "b"}, {"$items": [[1, "a"], ["1", "b"]]}),
        ({(1, 2): 3}, {"[1,2]": 3}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (b"\xff", "/w=="),
        (float("nan"), "NaN"),
        ([float("inf"), -float("inf")], ["Infinity", "-Infinity"]),
        (1 << 70, 1 << 70),
        (complex(1, 2), "1+2j"),
        (decimal.Decimal("1.10"), "1.10"),
        (dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), "2026-01-02T03:00:00+00:00"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.time(3, 4), "03:04:00"),
        (dt.timedelta(days=1, seconds=5), "P1DT5S"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        ((Colour.RED, Colour.BLUE, Weekday.MONDAY), [1, "blue", 1]),
        (Pair(1, (2,)), {"left": 1, "right": [2]}),
        (Slotted(1), {"item": 1}),
        (Record(1), {"item": 1}),
        (Attrs(1), {"x": 1, "y": 2}),
        (Model(item=1), {"item": 1, "when": "2026-01-02T00:00:00+00:00"}),
        (Flexible(secret="s", more=1), {"secret": "**********", "more": 1}),  # type: ignore[arg-type, call-arg]
        (Roots([1]), [1]),
        ("\ud800", "\\ud800"),
        (Plain(1), {"$type": "tests.support.kinds.Plain", "$repr": "<tests.support.kinds.Plain>"}),
        (range(3), {"$type": "range", "$repr": "range(0, 3)"}),
    ],
)
def test_what_becomes_what(value: Any, expected: Any) -> None:
    assert json.dumps(shown(value)) == json.dumps(expected)


@given(VALUES)
def test_every_value_has_one_that_is_json_and_whose_type_is_told(value: Any) -> None:
    _, encoding, projected = codec.encode_for_readers(value)
    assert (projected is None) == (encoding == codec.JSON)
    found = json.loads(projection.project(value), parse_constant=pytest.fail)
    assert found["type"].endswith(type(value).__qualname__)


class Hostile:
    """Whatever is called of it says so."""

    calls: list[str] = []  # noqa: RUF012

    def __repr__(self) -> str:
        self.calls.append("repr")
        raise SystemExit

    __str__ = __iter__ = __len__ = __hash__ = __eq__ = __getattr__ = __repr__  # type: ignore[assignment, misc]

    @property
    def __class__(self) -> Any:
        self.calls.append("class")
        raise SystemExit

    @__class__.setter
    def __class__(self, _: Any) -> None:
        pass


class HostileDict(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise SystemExit

    __iter__ = __len__ = keys = values = items


class HostileTime(dt.tzinfo):
    def utcoffset(self, _: Any) -> Any:
        raise SystemExit

    dst = tzname = utcoffset


def test_no_code_of_the_value_is_run() -> None:
    Hostile.calls.clear()
    found = shown((Hostile(), HostileDict(a=1), Pair(Hostile()), [Hostile()]))
    name = f"{Hostile.__module__}.Hostile"
    mark = {"$type": name, "$repr": f"<{name}>"}
    assert found == [mark, {"a": 1}, {"left": mark, "right": None}, [mark]]
    assert not Hostile.calls
    assert shown([dt.datetime(2026, 1, 1, tzinfo=HostileTime()), 1])[1] == 1


def test_it_is_bounded_in_depth_and_size_and_cycles_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "SIZE", 1 << 16)
    cycle: list[Any] = [1]
    cycle.append(cycle)
    assert shown(cycle) == [1, {"$omitted": "a cycle"}]
    deep: Any = 1
    for _ in range(1000):
        deep = (deep,)
    assert b"$omitted" in projection.project(deep)
    shared = [1, 2]
    assert shown((shared, shared)) == [[1, 2], [1, 2]]
    bush: Any = 1
    for _ in range(40):
        bush = (bush, bush)
    assert len(projection.project(bush)) < 4 * projection.SIZE
    for large in (("x" * 10_000_000,), (b"x" * 10_000_000,), tuple(range(2_000_000)), dict.fromkeys(range(200_000))):
        data = projection.project(large)
        assert len(data) < 4 * projection.SIZE
        assert b"$omitted" in data
    assert shown(1 << 100_000) == {"$omitted": "a whole number of 100001 bits"}
