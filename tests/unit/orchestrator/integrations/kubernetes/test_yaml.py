"""Whatever is printed is read back as the same, by the reader that podman's and kubectl's users have."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.integrations.kubernetes.yaml import dump

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(),
    st.sampled_from(
        ["yes", "NO", "on", "null", "~", "1e3", "0x10", "012", "1:30", "- a", "a: b", "#c", "*", "", " ", "2030-01-02"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcXYZ./-", min_size=1, max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_printed_is_read_back(value: Any) -> None:
    assert yaml.safe_load(dump(value)) == value


def test_documents_are_separated() -> None:
    assert list(yaml.safe_load_all(dump({"a": 1}, {"b": [{"c": []}, "d"]}))) == [{"a": 1}, {"b": [{"c": []}, "d"]}]
