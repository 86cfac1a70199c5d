"""Events do not change once they were made: not by the publisher, not by a subscriber, at any depth."""

from __future__ import annotations

import array
import asyncio
import copy
import dataclasses
import enum
import logging
import pickle
from collections import Counter, OrderedDict, UserDict, UserList, defaultdict, deque, namedtuple
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from runtime.events.bus import EventBus
from runtime.execution.state import ExecutionState
from runtime.frozen import LARGEST_ARRAY, MAX_DEPTH, FrozenDict, FrozenList, freeze
from runtime.ipc.codec import encode_json
from runtime.model import Event, ExecutionRecord, ExecutionStatus
from runtime.testing import run_virtual, virtual_time

Pair = namedtuple("Pair", "left right")  # noqa: PYI024


class Colour(enum.Enum):
    """An enum."""

    RED = "red"


@dataclasses.dataclass
class Box:
    """A dataclass that can change."""

    items: list[Any]


class Model(BaseModel):
    """A model that can change."""

    items: list[int]
    secret: SecretStr = SecretStr("hidden")


class Struct(msgspec.Struct):
    """A struct that can change."""

    items: list[int]


class Opaque:
    """Nothing is known of it."""

    def __init__(self) -> None:
        self.items: list[int] = []

    def __repr__(self) -> str:
        return f"Opaque({self.items})"


class Broken(dict[str, int]):
    """A mapping that cannot be read."""

    def keys(self) -> Any:
        raise RuntimeError

    __iter__ = keys

    def __repr__(self) -> str:
        raise RuntimeError


def change_everything(value: Any) -> None:
    """Change what can be changed in a plain value, at every depth."""
    if isinstance(value, dict):
        for item in value.values():
            change_everything(item)
        value["changed"] = True
    elif isinstance(value, list):
        for item in value:
            change_everything(item)
        value.append("changed")
    elif isinstance(value, set):
        value.add("changed")
    elif isinstance(value, bytearray):
        value.extend(b"changed")


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)
mutable = st.recursive(
    st.integers() | st.text() | st.binary().map(bytearray) | st.sets(st.integers()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_like))
def test_data_reads_as_before(data: dict[str, Any]) -> None:
    event = Event(kind="k", data=data)
    assert event.data == data
    assert encode_json(event.data) == encode_json(data)


@given(st.dictionaries(st.text(), mutable))
def test_what_the_publisher_does_later_changes_no_event(data: dict[str, Any]) -> None:
    before = copy.deepcopy(data)
    event = Event(kind="k", data=data)
    text = repr(event.data)
    change_everything(data)
    assert repr(event.data) == text
    assert set(event.data) == set(before)


CHANGES = {
    FrozenDict: ["clear()", "pop('a')", "popitem()", "setdefault('x')", "update(x=1)", "__setitem__('a', 1)",
                 "__delitem__('a')", "__ior__({'x': 1})"],
    FrozenList: ["append(1)", "clear()", "extend([1])", "insert(0, 1)", "pop()", "remove(1)", "reverse()", "sort()",
                 "__setitem__(0, 1)", "__delitem__(0)", "__iadd__([1])", "__imul__(2)"],
}  # fmt: skip


def test_every_method_that_changes_is_refused() -> None:
    for kind, calls in CHANGES.items():
        plain, value = kind.__mro__[1], kind({"a": 1})
        changing = {call.partition("(")[0] for call in calls}
        refused = {name for name, method in vars(kind).items() if getattr(method, "__name__", "") == "_refuse"}
        assert changing == refused
        for call in calls:
            with pytest.raises(TypeError, match="cannot be changed"):
                eval(f"value.{call}", {"value": value})
        assert value == plain({"a": 1})


@pytest.mark.parametrize(
    ("value", "frozen"),
    [
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(b=1, a=[2]), {"b": 1, "a": [2]}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (UserDict(a=[1]), {"a": [1]}),
        (MappingProxyType({"a": [1]}), {"a": [1]}),
        (UserList([1, [2]]), [1, [2]]),
        (deque([1, [2]]), [1, [2]]),
        (array.array("i", [1, 2]), [1, 2]),
        (Pair(1, [2]), (1, [2])),
        ({1, 2}, frozenset({1, 2})),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        (Box([1]), {"items": [1]}),
        (Struct([1]), {"items": [1]}),
        (Model(items=[1]), {"items": [1], "secret": "**********"}),
        (Colour.RED, Colour.RED),
        (Decimal("1.5"), Decimal("1.5")),
        (UUID(int=5), UUID(int=5)),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
        (Path("/a/b"), "/a/b"),
        (Opaque(), "Opaque([])"),
        (Box, repr(Box)),
        (Broken(a=1), "<Broken>"),
        ({(1, 2): 3, Opaque: 4}, {(1, 2): 3, repr(Opaque): 4}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_becomes_what_cannot_change(value: Any, frozen: Any) -> None:
    assert freeze(value) == frozen
    assert freeze([value]) == [frozen]


def test_numpy() -> None:
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    large = np.zeros(LARGEST_ARRAY + 1)
    array = np.array([[1, 2]])
    data = Event(kind="k", data={"a": array, "f": np.float32(0.5), "i": np.int64(7), "large": large}).data
    array[0, 0] = 9
    assert data == {"a": [[1, 2]], "f": 0.5, "i": 7, "large": repr(large)}
    assert [type(data[name]) for name in ("a", "f", "i")] == [FrozenList, float, int]


def test_what_contains_itself_or_is_too_deep_ends() -> None:
    knot: dict[str, Any] = {}
    knot["a"] = knot["b"] = [knot]
    assert freeze(knot) == {name: ["<dict, which contains itself>"] for name in "ab"}
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    frozen = freeze(deep)
    for _ in range(MAX_DEPTH):
        frozen = frozen[0]
    assert frozen == [f"<list, nested more than {MAX_DEPTH} deep>"]


@pytest.mark.parametrize("thaw", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copy_may_be_changed(thaw: Any) -> None:
    data = thaw(Event(kind="k", data={"a": [1, {"b": []}]}).data)
    data["a"][1]["b"].append(1)
    assert data == {"a": [1, {"b": [1]}]}
    assert type(data) is dict


def test_one_dict_that_is_used_again_is_logged_with_its_content_of_the_moment(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> list[Any]:
        seen: list[Any] = []
        async with ExecutionState() as state:
            state.event_bus.subscribe(lambda event: seen.append(event.data))
            stream = state.event_bus.stream()
            metadata: dict[str, Any] = {"n": 0, "tags": []}
            for number in range(3):
                metadata["n"] = number
                metadata["tags"].append(number)
                await state.log("m", metadata=metadata)
                state.emit("own", of=metadata)
            read = [(await anext(stream)).data for _ in range(6)]
        assert read == seen
        return seen

    with caplog.at_level(logging.INFO, "quiesce.agent"):
        seen = run_virtual(main)
    assert [data.get("metadata", data.get("of"))["n"] for data in seen] == [0, 0, 1, 1, 2, 2]
    assert [data.get("metadata", data.get("of"))["tags"] for data in seen][-2:] == [[0, 1, 2]] * 2
    assert [record.metadata["n"] for record in caplog.records] == [0, 1, 2]  # type: ignore[attr-defined]


def test_a_subscriber_cannot_change_what_the_next_one_sees() -> None:
    bus = EventBus()
    errors: list[TypeError] = []
    seen: list[Event] = []

    def meddle(event: Event) -> None:
        for change in (lambda: event.data.update(n=2), lambda: event.data["tags"].append(2)):
            try:
                change()
            except TypeError as error:
                errors.append(error)

    bus.subscribe(meddle)
    bus.subscribe(seen.append)
    bus.publish_nowait(Event(kind="k", data={"n": 1, "tags": [1]}))
    assert len(errors) == 2
    assert seen[0].data == {"n": 1, "tags": [1]}


@virtual_time
async def test_an_event_that_waits_for_room_keeps_its_content() -> None:
    async with ExecutionState() as state:
        stream = state.event_bus.stream(limit=1)
        metadata = {"n": 0}
        state.log("fills the queue", metadata=metadata)
        waiting = state.log("waits", metadata=metadata)
        metadata["n"] = 1
        writer = asyncio.ensure_future(_await(waiting))
        assert [(await anext(stream)).data["metadata"]["n"] for _ in range(2)] == [0, 0]
        await writer


async def _await(waiting: Any) -> None:
    await waiting


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OwnEvent(Event):
    """A program's own kind of event, with a field of its own."""

    extra: Any = None


def test_the_fields_of_a_programs_own_event_are_frozen_too() -> None:
    bus = EventBus()
    seen: list[Any] = []
    bus.subscribe(seen.append)
    extra = {"n": [1]}
    event = OwnEvent(kind="own", extra=extra)
    bus.publish_nowait(event)
    extra["n"].append(2)
    assert type(seen[0]) is OwnEvent
    assert seen[0].extra == {"n": [1]}


def test_metadata_that_is_nothing_json_knows_fails_nobody() -> None:
    event = Event(kind="k", data={"lock": Opaque(), "path": Path("p"), "set": {1}})
    assert msgspec.json.decode(encode_json(event.data)) == {"lock": "Opaque([])", "path": "p", "set": [1]}


def test_the_history_is_of_records_that_cannot_change() -> None:
    record = ExecutionRecord(name="n", address="", status=ExecutionStatus.STARTED, at=0.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.name = "m"  # type: ignore[misc]
