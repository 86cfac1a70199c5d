"""Checked records take, refuse and show what a pydantic model with the same fields does."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Annotated, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from orchestrator.core.checked_record import CheckedRecord, Converter, FieldError, field


def words(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")  # noqa: TRY004
    return tuple(value.split())


class Part(CheckedRecord):
    """A record in a record."""

    size: int | None = field(default=None, ge=0, le=10)


class Record(CheckedRecord):
    """One field of each kind."""

    count: int = field(default=1, ge=1, le=100_000, description="a count")
    size: int | None = field(default=None, gt=0, le=1 << 62)
    seconds: float = field(default=2.5, ge=0.5, le=315_360_000)
    limit: float | None = field(default=None, gt=0, le=9.5, exclude=True)
    flag: bool = field(default=False)
    part: Part | None = field(default=None)
    names: Annotated[tuple[str, ...] | None, "mark", Converter(words)] = field(default=None)


class PartModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int | None = Field(default=None, ge=0, le=10)


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(default=1, ge=1, le=100_000)
    size: int | None = Field(default=None, gt=0, le=1 << 62)
    seconds: float = Field(default=2.5, ge=0.5, le=315_360_000)
    limit: float | None = Field(default=None, gt=0, le=9.5, exclude=True)
    flag: bool = Field(default=False)
    part: PartModel | None = Field(default=None)
    names: Annotated[tuple[str, ...] | None, BeforeValidator(words)] = Field(default=None)


SCALARS = st.none() | st.booleans() | st.integers(-5, 1 << 70) | st.text(max_size=5)
NUMBERS = st.floats(-1e6, 1e6) | st.sampled_from([math.inf, -math.inf, math.nan])
TEXTS = st.integers(-5, 9).map(str) | st.floats().map(str) | st.sampled_from(["true", "OFF", "yes", "n", " 3 ", "1_0"])
VALUES: st.SearchStrategy[Any] = (
    SCALARS | NUMBERS | TEXTS | st.just([]) | st.just(object) | st.fixed_dictionaries({"size": SCALARS})
)
NAMES = ["count", "size", "seconds", "limit", "flag", "part", "names"]


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3))
@example({"count": 0})
@example({"count": 100_001})
@example({"count": True})
@example({"seconds": 315_360_001})
@example({"seconds": "nan"})
@example({"limit": 10})
@example({"part": {"size": 11}})
@example({"part": {"size": "3"}})
@example({"names": "a b"})
@example({"names": 3})
def test_it_takes_and_refuses_what_a_model_does(given_fields: dict[str, Any]) -> None:
    try:
        model = Model(**given_fields)
    except ValidationError as refusal:
        first = refusal.errors()[0]
        with pytest.raises(FieldError) as refused:
            Record(**given_fields)
        assert refused.value.name == ".".join(map(str, first["loc"]))
        if "maximum size" not in first["msg"] and "unable to interpret" not in refused.value.problem:  # long integers
            assert refused.value.problem == first["msg"].removeprefix("Value error, ").replace("PartModel", "Part")
        return
    record = Record(**given_fields)
    dumped = record.model_dump()
    assert repr(dumped) == repr(model.model_dump())
    assert record.model_fields_set == model.model_fields_set
    assert repr(record.limit) == repr(model.limit)


def test_an_unknown_field_is_refused_and_a_missing_one_too() -> None:
    class Needy(CheckedRecord):
        must: int = field(ge=0)

    with pytest.raises(FieldError, match=r"must = .*Field required"):
        Needy()  # type: ignore[call-arg]
    with pytest.raises(FieldError, match="more = 1: Extra inputs are not permitted"):
        Needy(must=1, more=1)  # type: ignore[call-arg]


def test_a_record_is_frozen_compared_copied_and_sent_by_its_fields() -> None:
    record = Record(count=3, names="a b")  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="frozen"):
        record.count = 4  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del record.count
    assert record == Record(count=3, names="a b") != Record(count=3)  # type: ignore[arg-type]
    assert hash(record) == hash(copy.deepcopy(record))
    assert pickle.loads(pickle.dumps(record)) == record
    assert dict(record)["names"] == ("a", "b")
    assert record.model_copy(update={"count": 5}).model_dump() == record.model_dump() | {"count": 5}
    assert record.model_copy().model_fields_set == {"count", "names"}
    with pytest.raises(FieldError):
        record.model_copy(update={"count": 0})


def test_json_has_lists_for_tuples_and_leaves_excluded_fields_out() -> None:
    record = Record(names="a b", part=Part(size=1), limit=2)  # type: ignore[arg-type]
    dumped = record.model_dump(mode="json", exclude={"count"})
    assert dumped == {"size": None, "seconds": 2.5, "flag": False, "part": {"size": 1}, "names": ["a", "b"]}
    assert Record.model_validate({**dumped, "names": "a b"}).part == Part(size=1)
    assert record.model_dump_json().startswith('{"count":1,')


def test_a_subclass_has_the_fields_of_its_base_in_their_order() -> None:
    class More(Record):
        seconds: float = field(default=1.0, ge=0)
        extra: int = field(default=7)

    assert list(More.model_fields) == [*Record.model_fields, "extra"]
    assert (More().seconds, Record().seconds, More().extra) == (1.0, 2.5, 7)
    assert Record.model_fields["names"].metadata == ("mark",)
    assert Record.model_fields["count"].description == "a count"
    assert Record.model_fields["size"].annotation == int | None
