"""Environment variables with one value for each slot."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.config import Settings
from orchestrator.core.slot_environment import format_slot_env, parse_slot_env
from orchestrator.setting_list import list_settings
from runtime.errors import UsageError


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ("GPU=0,1, 2", {"GPU": ("0", "1", "2")}),
        ("GPU=0,1;2,3", {"GPU": ("0,1", "2,3")}),
        ("GPU=", {"GPU": ("",)}),
        (["A=1,2", "B=3"], {"A": ("1", "2"), "B": ("3",)}),
        ({"A": [1, "2"], "B": "3,4"}, {"A": ("1", "2"), "B": ("3", "4")}),
        ([], {}),
    ],
)
def test_every_way_to_give_it_means_the_same(given: Any, values: dict[str, tuple[str, ...]]) -> None:
    assert parse_slot_env(given) == values
    assert parse_slot_env(format_slot_env(values)) == values
    setting = list_settings()["slot_env"]
    assert setting.parse(given) == values
    assert [word for word in setting.format(values) if word != "--slot-env"] == format_slot_env(values)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("GPU", "give NAME=VALUE,VALUE,"),
        ("1GPU=0", "'1GPU' is not the name of an environment variable"),
        ("QUIESCE_SLOT=0", "QUIESCE_SLOT belongs to quiesce"),
        ({"GPU": 3}, "the values of GPU are no list"),
        (3, "int is neither"),
        ({"GPU": ["a;b"]}, "has a semicolon"),
    ],
)
def test_what_cannot_be_one(given: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Settings.from_options(workers=1, slot_env=given)


def test_each_slot_needs_a_value() -> None:
    words = r"slot_env: GPU has 2 values for 3 workers: give a value for each, or --workers 2"
    with pytest.raises(UsageError, match=words):
        Settings.from_options(workers=3, slot_env="GPU=0,1")
    kept = Settings.from_options(workers=2, slot_env="GPU=0,1,2").model_dump(mode="json")
    assert Settings.from_options(**kept).slot_env == {"GPU": ("0", "1", "2")}
