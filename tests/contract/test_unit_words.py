"""No word changes on its way into a unit, or becomes another line or option; what cannot be written is refused."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.ladder import Ladder
from orchestrator.integrations.systemd.unit import ServiceUnit, render
from runtime.errors import UsageError

NASTY = st.sampled_from(
    ["\\", "\n", "\r", "\u2028", "\u2029", "\x85", " ", "\t", '"', "'", "%", "%S", "$", "${HOME}", "$$", ";", "#", "=",
     "\0", "\x1b", ":", "@", "-", "+", "!", "\udcff", "\u00a0", "ü", "[Service]", "User=root", "~", "a", "/"]
)  # fmt: skip
WORDS = st.lists(NASTY, max_size=6).map("".join)


def lines_of(text: str) -> list[str]:
    """Lines as systemd reads them: ended by any of three characters, without comments, joined by backslashes."""
    found, joined = [], ""
    for raw in re.split(r"[\n\r\0]", text):
        line = raw.strip(" \t")
        if not joined and (not line or line[0] in "#;"):
            continue
        if joined and line[:1] in ("#", ";"):
            continue
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        found.append(joined + line)
        joined = ""
    return [*found, joined] if joined else found


def split(text: str, *, c_escapes: bool) -> list[str]:
    """Words as extract_first_word() has them, with quotes removed and, for commands, C's escapes undone."""
    words: list[bytes] = []
    word: bytes | None = None
    quote, at, data = "", 0, text
    while at < len(data):
        letter = data[at]
        at += 1
        if letter == "\\":
            word = word or b""
            escaped = data[at]
            at += 1
            if c_escapes and escaped == "x":
                word += bytes([int(data[at : at + 2], 16)])
                at += 2
            else:
                assert not c_escapes or escaped in '\\"', escaped
                word += escaped.encode()
        elif quote:
            if letter == quote:
                quote = ""
            else:
                word = (word or b"") + letter.encode()
        elif letter in "\"'":
            quote, word = letter, word or b""
        elif letter in " \t":
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or b"") + letter.encode()
    assert not quote
    return [each.decode() for each in [*words, *([] if word is None else [word])]]


def specifiers(text: str) -> str:
    assert re.fullmatch(r"([^%]|%%)*", text), text
    return text.replace("%%", "%")


def variables(text: str) -> str:
    assert re.fullmatch(r"([^$]|\$\$)*", text), text
    return text.replace("$$", "$")


def build(**changes: object) -> ServiceUnit:
    base: dict[str, object] = {
        "run_id": "r", "agent": "a.py:f", "command": ["/opt/quiesce", "run"], "directory": "/srv", "user": "batch",
        "ladder": Ladder(10, 5, 2),
    }  # fmt: skip
    return ServiceUnit(**{**base, **changes})  # type: ignore[arg-type]


PLAIN = [line.partition("=")[0] for line in lines_of(render(build(writable=["/w"], bound=["/b"])))]


@given(words=st.lists(WORDS, max_size=4), directory=WORDS, path=WORDS, name=WORDS, run_id=WORDS)
def test_words_come_back_as_they_were(words: list[str], directory: str, path: str, name: str, run_id: str) -> None:
    given = build(
        command=["/opt/quiesce", *words], directory=f"/d{directory}", writable=[f"/w{path}", "/x"],
        bound=[f"/b{path}"], user=f"u{name}", run_id=run_id, agent=run_id,
    )  # fmt: skip
    try:
        text = render(given)
    except UsageError:
        return
    lines = lines_of(text)
    assert [line.partition("=")[0] for line in lines] == PLAIN  # no line more, none less, none that joins the next
    options = dict(line.split("=", 1) for line in lines if "=" in line)
    command = split(options["ExecStart"], c_escapes=True)
    assert command[0] == "/opt/quiesce"
    assert [variables(specifiers(word)) for word in command[1:]] == words
    assert specifiers(options["WorkingDirectory"]) == f"/d{directory}"
    assert specifiers(options["User"]) == f"u{name}"
    assert [specifiers(each) for each in split(options["ReadWritePaths"], c_escapes=False)] == [f"/w{path}", "/x"]


@pytest.mark.parametrize(
    "directory", ["/x\\", "/x ", "/x\r", "/x\u2028", "/x\nUser=root", "/x\x1b", "/x\udcff", "/x\u00a0"]
)
def test_a_directory_that_cannot_be_written_is_refused(directory: str) -> None:
    with pytest.raises(UsageError, match="cannot be written into a unit"):
        render(build(directory=directory))


@pytest.mark.parametrize("user", ["", "root\n", "a\\", "a b", "-x", "a:b", "a/b"])
def test_a_user_that_is_none_is_refused(user: str) -> None:
    with pytest.raises(UsageError):
        render(build(user=user))


def test_a_line_has_an_end() -> None:
    with pytest.raises(UsageError, match="too long"):
        render(build(command=["/opt/quiesce", "x" * (1 << 20)]))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_reads_it_without_a_complaint(tmp_path: Path) -> None:
    words = ["a\\", 'b"', "%S", "$HOME", ";", "\u2028", "ü", "\r\n", "#", "", "x" * 1000, "\x1b[1m"]
    unit = tmp_path / "quiesce-words.service"
    unit.write_text(
        render(build(command=["/bin/true", *words], directory="/", user="root", run_id="a\\\n", agent="b\\"))
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if "quiesce-words" in line]
    assert complaints == []
