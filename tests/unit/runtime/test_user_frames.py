"""runtime.user_frames: which frame of a traceback is in the user's own code."""

from __future__ import annotations

import pytest

from runtime.user_frames import OUR_FOLDERS, Frame, frames_in_text, select_user_frames

AGENT = Frame("/home/u/agents.py", 3, "work")
HELPER = Frame("/home/u/lib/helper.py", 9, "help")
STANDARD = Frame("/usr/lib/python3.11/json/decoder.py", 355, "raw_decode")
INSTALLED = Frame("/srv/venv/lib/python3.12/site-packages/httpx/_client.py", 7, "send")
DEBIAN = Frame("/usr/lib/python3/dist-packages/yaml/reader.py", 7, "read")
FROZEN = Frame("<frozen importlib._bootstrap>", 1, "_load")
OURS = Frame(f"{OUR_FOLDERS[0]}execution/state.py", 1, "check")
PLUGIN = Frame("/srv/venv/lib/python3.12/site-packages/crawler/agents.py", 4, "crawl")
PLUGIN_PART = Frame("/srv/venv/lib/python3.12/site-packages/crawler/parse.py", 8, "parse")


@pytest.mark.parametrize("library", [STANDARD, INSTALLED, DEBIAN, FROZEN, OURS])
def test_frames_of_libraries_are_left_out(library: Frame) -> None:
    assert select_user_frames([AGENT, HELPER, library]) == [AGENT, HELPER]


def test_an_agent_that_is_an_installed_package_is_code_of_the_user() -> None:
    assert select_user_frames([PLUGIN, PLUGIN_PART, INSTALLED]) == [PLUGIN, PLUGIN_PART]


@pytest.mark.parametrize(("frames", "expected"), [([FROZEN, STANDARD], [STANDARD]), ([OURS], [OURS]), ([], [])])
def test_without_code_of_the_user_it_is_the_innermost_frame(frames: list[Frame], expected: list[Frame]) -> None:
    assert select_user_frames(frames) == expected


CHAINED = """Traceback (most recent call last):
  File "/home/u/agents.py", line 3, in work
    return 1 / 0
           ~~^~~
ZeroDivisionError: division by zero

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/home/u/agents.py", line 5, in work
    raise ValueError("in, line 9") from None
ValueError: in, line 9
"""
GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "/home/u/a b.py", line 7, in main
  |     raise ExceptionGroup("two", errors)
  | ExceptionGroup: two (1 sub-exception)
"""


def test_the_frames_of_a_text_are_those_of_its_last_traceback() -> None:
    assert frames_in_text(CHAINED) == [Frame("/home/u/agents.py", 5, "work")]


def test_the_end_of_a_long_traceback_is_read() -> None:
    assert frames_in_text(CHAINED[40:130]) == []
    assert frames_in_text(CHAINED[36:130]) == [Frame("/home/u/agents.py", 3, "work")]


def test_the_frames_of_a_group_are_read() -> None:
    assert frames_in_text(GROUP) == [Frame("/home/u/a b.py", 7, "main")]
