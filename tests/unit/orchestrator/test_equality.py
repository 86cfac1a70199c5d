"""Which values are the same input: what pickle keeps of them decides, at every depth."""

from __future__ import annotations

import datetime as dt
import pickle
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from orchestrator.equality import are_equal

UTC = dt.UTC
EAST = dt.timezone(dt.timedelta(hours=1))


@dataclass(frozen=True)
class Job:
    number: Any
    body: str = field(default="", compare=False)


class Model(BaseModel):
    number: Any


class Row:
    """As rows of a database do it: who has the same primary key is equal."""

    def __init__(self, key: int, text: str) -> None:
        self.key, self.text = key, text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Row) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)


DIFFERENT = [
    (Decimal("1.0"), Decimal("1.00")),
    (dt.datetime(2026, 1, 1, 12, tzinfo=UTC), dt.datetime(2026, 1, 1, 13, tzinfo=EAST)),
    (dt.datetime(2026, 10, 25, 2, tzinfo=UTC), dt.datetime(2026, 10, 25, 2, fold=1, tzinfo=UTC)),
    (Job(1), Job(True)),
    (Job(1), Job(1.0)),
    (Job(1, "old"), Job(1, "new")),
    (Model(number=1), Model(number=True)),
    (Row(1, "old"), Row(1, "new")),
    ({(1,): 5}, {(True,): 5}),
    ({(1,)}, {(True,)}),
    ({0.0}, {-0.0}),
    (frozenset({Job(1)}), frozenset({Job(True)})),
    ({Row(1, "old"): 1}, {Row(1, "new"): 1}),
    (Counter({1: 2}), Counter({True: 2})),
    (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
    (defaultdict(None, a=1), defaultdict(int, a=1)),
    (range(0), range(1, 1)),
    (np.array([1, 2]), np.array([1.0, 2.0])),
    (np.float64(1), np.float32(1)),
    (lambda: 1, lambda: 2),
    (lambda: 1, lambda: True),
    (lambda: [-x for x in (1, 2)], lambda: [-x for x in (1, 3)]),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_equals_is_not_always_the_same(one: Any, other: Any) -> None:
    assert not are_equal(one, other)
    assert not are_equal([{"in": one}], [{"in": other}])


@pytest.mark.parametrize("value", [value for pair in DIFFERENT for value in pair if not callable(value)])
def test_a_value_is_the_same_as_its_copy(value: Any) -> None:
    assert are_equal(value, pickle.loads(pickle.dumps(value)))


def line_above() -> Callable[[int], int]:
    return lambda number: number + 1


def line_below() -> Callable[[int], int]:

    return lambda number: number + 1


def test_a_lambda_that_was_moved_is_the_same() -> None:
    one, other = line_above(), line_below()
    one.__qualname__ = other.__qualname__ = "f"
    assert are_equal(one, other)


def test_the_order_in_which_a_set_of_constants_was_made_says_nothing() -> None:
    """0 and 8 have one place in a small set: the one that came first is shown first."""
    assert are_equal(lambda number: number in {0, 8}, lambda number: number in {8, 0})
    assert not are_equal(lambda number: number in {0, 8}, lambda number: number in {0, 16})
