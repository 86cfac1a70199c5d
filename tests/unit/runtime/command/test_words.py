"""Replacement strings, as GNU parallel has them (tests/process/test_commands_beside_parallel.py compares them)."""

from __future__ import annotations

import shlex
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.command.words import CommandWords, TaskPlace, input_text
from runtime.errors import UsageError

PLACE = TaskPlace(7, 3)


def words(command: list[str], value: Any, *, shell: bool = False) -> list[str]:
    return CommandWords(command, shell=shell).for_input(value, PLACE)


@pytest.mark.parametrize(
    ("command", "value", "expected"),
    [
        (["echo"], "a b", ["echo", "a b"]),
        (["echo", "{}"], "a b", ["echo", "a b"]),
        (["echo", "x{}y"], "a b", ["echo", "xa by"]),
        (
            ["echo", "{.}", "{/}", "{//}", "{/.}"],
            "/a/b.c/d.tar.gz",
            ["echo", "/a/b.c/d.tar", "d.tar.gz", "/a/b.c", "d.tar"],
        ),
        (["echo", "{.}", "{/}", "{//}", "{/.}"], "d/e", ["echo", "d/e", "e", "d", "e"]),
        (["echo", "{.}", "{/}", "{//}", "{/.}"], ".h", ["echo", "", ".h", ".", ""]),
        (["echo", "{.}", "{/}", "{//}", "{/.}"], "x.", ["echo", "x", "x.", ".", "x"]),
        (["echo", "{.}", "{/}", "{//}", "{/.}"], "a/", ["echo", "a/", "", ".", ""]),
        (["echo", "{.}", "{/}", "{//}", "{/.}"], "/q", ["echo", "/q", "q", "/", "q"]),
        (["echo", "{#}", "{%}"], "a", ["echo", "7", "3"]),
        (["echo", "{1}-{2}"], ["a", "b c"], ["echo", "a-b c"]),
        (["echo", "{2.}", "{1/}"], ["d/a", "b.c"], ["echo", "b", "a"]),
        (["echo", "{}"], ["a", "b c"], ["echo", "a", "b c"]),
        (["echo", "<{}>"], ["a", "b"], ["echo", "<a b>"]),
        (["echo", "{3}"], ["a", "b"], ["echo", ""]),
        (["awk", "{print}", "{}"], "a", ["awk", "{print}", "a"]),
        (["echo", "{name}", "{file.}"], {"name": "n", "file": "a.b"}, ["echo", "n", "a"]),
        (["echo", "{n}", "{yes}", "{l}"], {"n": 5, "yes": True, "l": [1]}, ["echo", "5", "true", "[1]"]),
        (["echo"], 5, ["echo", "5"]),
        (["echo", "{}{"], "a", ["echo", "a{"]),
    ],
)
def test_inputs_become_words(command: list[str], value: Any, expected: list[str]) -> None:
    assert words(command, value) == expected


def test_a_field_that_is_missing_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="no field 'nme'; there are name"):
        words(["echo", "{nme}"], {"name": 1})


@pytest.mark.parametrize("command", [[], [""]])
def test_no_command_is_refused(command: list[str]) -> None:
    with pytest.raises(UsageError, match="no command"):
        CommandWords(command)


def test_what_an_input_has_is_never_replaced_again() -> None:
    assert words(["echo", "{}", "{#}"], "{#} {} {1}") == ["echo", "{#} {} {1}", "7"]


# -- in a shell ----------------------------------------------------------------------------------------

_EVIL = [
    "; echo BAD",
    "$(echo BAD)",
    "`echo BAD`",
    "' ; echo BAD ; '",
    '" ; echo BAD ; "',
    "a\nb",
    "-n",
    "*",
    "~",
    "\\",
    "!!",
    "'",
    '"',
]
_TEXT = st.one_of(st.sampled_from(_EVIL), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))


def shell_output(script: list[str], value: str) -> str:
    ran = subprocess.run(words(script, value, shell=True), capture_output=True, check=True)
    return ran.stdout.decode()


@pytest.mark.parametrize(
    "script",
    [
        "printf %s {}",
        "printf %s '{}'",
        'printf %s "{}"',
        'printf %s "$1"',
        "printf %s a'b'{}",
        "printf '%s' pre\"fix {}\"",
    ],
)
@given(value=_TEXT)
@settings(max_examples=40, deadline=None)
def test_an_input_is_text_for_the_shell_wherever_it_stands(script: str, value: str) -> None:
    before = {"printf %s a'b'{}": "ab", "printf '%s' pre\"fix {}\"": "prefix "}.get(script, "")
    assert shell_output([script], value) == before + value


@pytest.mark.parametrize(
    "script", ['echo "$(cat {})"', "echo `cat {}`", "cat <<END\n{}\nEND", 'echo "${x:-{}}"', r"echo \{}", "echo $'{}'"]
)
def test_where_quoting_is_not_known_a_replacement_string_is_refused(script: str) -> None:
    with pytest.raises(UsageError, match=r'write "\$1" there'):
        words([script], "a", shell=True)


def test_a_substitution_outside_of_quotes_quotes_as_elsewhere() -> None:
    assert shell_output(["printf %s, $(printf %s {})"], "$(echo BAD)") == "$(echo,BAD),"  # split, and not executed


def test_the_shown_command_is_one_for_a_shell() -> None:
    shown = CommandWords(["echo", "{}", "c'd"]).shown("a b;", PLACE)
    assert shlex.split(shown) == ["echo", "a b;", "c'd"]
    assert CommandWords(["echo {}|wc"], shell=True).shown("a b", PLACE) == "echo 'a b'|wc"


def test_the_text_of_an_input() -> None:
    assert [input_text(value) for value in ("a b", 5, ["a", "b"], {"k": 1}, None)] == [
        "a b",
        "5",
        "a b",
        '{"k":1}',
        "null",
    ]


def test_a_script_with_parameters_gets_no_further_word() -> None:
    assert words(['echo "$1"'], "a b", shell=True) == ["/bin/sh", "-c", 'echo "$1"', "sh", "a b"]
    assert words(["awk '{print $1}'"], "a b", shell=True)[2] == "awk '{print $1}' 'a b'"
