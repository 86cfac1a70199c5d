"""Values of every kind that an agent may return, as strategies."""

from __future__ import annotations

import collections
import datetime as dt
import pathlib
from typing import Any

from hypothesis import strategies as st

from tests.support.kinds import Colour, Model, Pair, Plain, Point, Record, Slotted, Weekday, Word

UNPLAIN_LEAVES = st.one_of(
    st.floats(),
    st.integers(),
    st.integers(min_value=-(1 << 200), max_value=1 << 200),
    st.text(st.characters(exclude_categories=[])),  # lone surrogates too
    st.binary(),
    st.binary().map(bytearray),
    st.complex_numbers(),
    st.decimals(),
    st.fractions(),
    st.datetimes(timezones=st.sampled_from([None, dt.UTC])),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from([Colour.RED, Colour.BLUE, Weekday.MONDAY, Word("w")]),
    st.sampled_from([pathlib.PurePosixPath("a/b"), ..., range(3), int]),
)
PLAIN_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
LEAVES = st.one_of(PLAIN_LEAVES, UNPLAIN_LEAVES)
KEYS = st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.dates(), st.tuples(st.integers(), st.text()))


def _containers(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(children, max_size=4),
        st.lists(children, max_size=4).map(tuple),
        st.lists(children, max_size=4).map(collections.deque),
        st.dictionaries(st.text(), children, max_size=4),
        st.dictionaries(KEYS, children, max_size=4),
        st.dictionaries(KEYS, children, max_size=4).map(collections.OrderedDict),
        st.dictionaries(st.text(), children, max_size=4).map(lambda found: collections.defaultdict(list, found)),
        st.sets(KEYS, max_size=4),
        st.frozensets(KEYS, max_size=4),
        st.lists(st.text(max_size=2), max_size=4).map(collections.Counter),
        st.builds(Point, children, children),
        st.builds(Pair, children, children),
        st.builds(Slotted, children),
        st.builds(lambda item: Model(item=item), children),
        st.builds(Record, children),
        st.builds(Plain, children),
    )


VALUES = st.recursive(LEAVES, _containers, max_leaves=12)
"""Any value, at any depth."""

PLAIN_VALUES = st.recursive(
    PLAIN_LEAVES, lambda children: st.lists(children) | st.dictionaries(st.text(), children), max_leaves=12
)
"""Those that are JSON."""
