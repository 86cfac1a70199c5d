"""Each option of commands beside GNU parallel on the same inputs: what is printed, logged and written is the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.cli import Completed, run_cli

PARALLEL = shutil.which("parallel")
pytestmark = pytest.mark.skipif(PARALLEL is None, reason="GNU parallel is not installed")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; GNU parallel asks for no citation."""
    (tmp_path / ".parallel").mkdir()
    (tmp_path / ".parallel" / "will-cite").touch()
    monkeypatch.setenv("PARALLEL_HOME", str(tmp_path / ".parallel"))
    monkeypatch.setenv("PARALLEL_SHELL", "/bin/sh")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def theirs(*words: str, stdin: bytes = b"") -> str:
    assert PARALLEL is not None
    ran = subprocess.run([PARALLEL, *words], input=stdin, capture_output=True, timeout=60, check=False)
    return ran.stdout.decode()


def ours(*words: str | os.PathLike[str], stdin: bytes | None = None) -> Completed:
    return run_cli("run", "-q", *words, stdin=stdin)


WORDS = [
    "a b",
    "c'd",
    'x$y"z',
    "; echo BAD",
    "$(echo BAD)",
    "`echo BAD`",
    "d/e.f/photo.tar.gz",
    ".h",
    "x.",
    "a/",
    "/q",
    "*",
    "~",
    "\\",
    "-n",
]


def test_replacement_strings(here: Path) -> None:
    template = ["+{}+", "{.}", "{/}", "{//}", "{/.}", "{#}", "pre{}post", "{print}"]
    expected = theirs("-k", "printf", "'%s|'", *template, ";", "echo", ":::", *WORDS)
    script = 'printf "%s|" "$@"; echo'
    assert ours("-k", "--", "sh", "-c", script, "sh", *template, ":::", *WORDS).stdout == expected
    assert "photo.tar.gz" in expected


def test_a_script_for_a_shell(here: Path) -> None:
    found = ours("-k", "--shell", "--", "echo {#}; printf '%s\\n' {}", ":::", *WORDS).stdout
    assert found == theirs("-k", "echo {#}; printf '%s\\n' {}", ":::", *WORDS)


def test_lists_are_combined_and_linked_alike(here: Path) -> None:
    lists = [":::", "1", "2", "3", ":::", "a", "b c"]
    assert ours("-k", "--", "echo", "{2}-{1}", *lists).stdout == theirs("-k", "echo", "{2}-{1}", *lists)
    assert ours("-k", "--link", "--", "echo", "{}", *lists).stdout == theirs("-k", "--link", "echo", "{}", *lists)
    plus = [":::", "1", "2", ":::+", "a", "b", ":::", "x", "y"]
    assert ours("-k", "--", "echo", *plus).stdout == theirs("-k", "echo", *plus)
    (here / "f").write_text("l1\nl 2\n")
    files = ["::::", "f", ":::", "z"]
    assert ours("-k", "--", "echo", *files).stdout == theirs("-k", "echo", *files)


def test_lines_and_nul(here: Path) -> None:
    lines = b"one\ntwo words\n  three\n'four\n"
    assert ours("-k", "--lines", "--", "echo", "[{}]", stdin=lines).stdout == theirs("-k", "echo", "[{}]", stdin=lines)
    nul = b"a\nb\0c d\0"
    assert ours("-k", "-0", "--", "echo", "[{}]", stdin=nul).stdout == theirs("-k", "-0", "echo", "[{}]", stdin=nul)


def test_order_and_tags(here: Path) -> None:
    script = "sleep 0.$1; echo out $1; echo err $1 >&2"
    inputs = [":::", "6", "1", "3"]
    words = ["sh", "-c", script, "sh", "{}"]
    quoted = ["sh", "-c", f"'{script}'", "sh", "{}"]
    assert ours("-k", "-j3", "--tag", "--", *words, *inputs).stdout == theirs("-k", "-j3", "--tag", *quoted, *inputs)
    unordered = ours("-j3", "--", *words, *inputs)
    assert sorted(unordered.stdout.splitlines()) == ["out 1", "out 3", "out 6"]
    assert [line for line in unordered.stderr.splitlines() if line.startswith("err")][:1]


def test_dry_run(here: Path) -> None:
    lists = [":::", *WORDS[:6], ":::", "y"]
    shown = ours("--dry-run", "--", "echo", "{}", "{#}", *lists).stdout
    # both are for a shell: which characters they quote may differ, what the shell makes of them may not
    run = [
        subprocess.run(["sh", "-c", text], capture_output=True, check=True).stdout
        for text in (shown, theirs("-k", "--dry-run", "echo", "{}", "{#}", *lists))
    ]
    assert run[0] == run[1]
    assert not (here / "quiesce.db").exists()


def jobs(path: Path) -> list[list[str]]:
    """The lines of a job log without times and commands' quoting, by number."""
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    assert all(len(row) == len(rows[0]) for row in rows)
    times = [row[2:4] for row in rows[1:]]
    assert all(re.fullmatch(r"\d+\.\d{3}", start) and re.fullmatch(r" *\d+\.\d{3}", took) for start, took in times)
    assert all(len(took) == 10 for _, took in times)
    return [rows[0], *sorted(row[:2] + row[4:8] for row in rows[1:])]


def test_the_job_log(here: Path) -> None:
    script = "echo $1; case $1 in k) kill -9 $$;; t) sleep 30;; *) exit $1;; esac"
    inputs = [":::", "0", "3", "k", "t"]
    theirs("--timeout", "2", "--joblog", "theirs", "sh", "-c", f"'{script}'", "sh", "{}", *inputs)
    ended = ours("--timeout", "2", "--joblog", "ours", "--", "sh", "-c", script, "sh", "{}", *inputs)
    assert ended.returncode == 1
    mine, other = jobs(here / "ours"), jobs(here / "theirs")
    assert mine[:4] == [*other[:3], mine[3]]
    assert mine[0] == other[0]
    assert mine[3][4:] == ["0", "9"] or other[3][4:] == mine[3][4:]  # a kill below the shell of GNU parallel
    assert mine[4][4:] == other[4][4:] == ["-1", "15"]


def tree(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_text() for path in files}


def test_results(here: Path) -> None:
    lists = [":::", "a/b", "../x", "a b", "t\tb", ":::", "c"]
    theirs("--results", "theirs", "sh", "-c", "'echo $1; echo err >&2'", "sh", "{1}", *lists)
    ended = ours("--results", "ours", "--", "sh", "-c", "echo $1; echo err >&2", "sh", "{1}", *lists)
    assert ended.stdout == ""
    assert tree(here / "ours") == tree(here / "theirs")
    ours("--results", "hostile", "--", "echo", "x", "{}", ":::", "..", ".", "", "x" * 5000)
    assert {path.name for path in here.iterdir()} >= {"hostile"}
    assert len(tree(here / "hostile")) == 12
    assert not (here / "stdout").exists()


def test_halt(here: Path) -> None:
    script = "case $1 in bad) sleep 0.5; exit 1;; slow) sleep 2; echo slow; exit 0;; *) echo more;; esac"
    inputs = [":::", "bad", "slow", "x", "y", "z"]
    condition = ["-j2", "--halt", "soon,fail=1"]
    expected = theirs(*condition, "sh", "-c", f"'{script}'", "sh", "{}", ":::", "bad", "slow")
    ended = ours(*condition, "--", "sh", "-c", script, "sh", "{}", ":::", "bad", "slow")
    assert ended.stdout == expected == "slow\n"
    stopped = ours("-j1", "--halt", "now,fail=1", "--", "sh", "-c", script, "sh", "{}", *inputs)
    assert (stopped.returncode, stopped.stdout) == (75, "")
    assert theirs("-j1", "--halt", "now,fail=1", "sh", "-c", f"'{script}'", "sh", "{}", *inputs) == ""


def test_delay(here: Path) -> None:
    stamp = "date +%s.%N"
    for lines in (
        theirs("-j4", "--delay", "0.3", stamp, ":::", "a", "b", "c").splitlines(),
        ours("-j4", "--delay", "0.3", "--shell", "--", f"{stamp}; : {{}}", ":::", "a", "b", "c").stdout.splitlines(),
    ):
        at = sorted(map(float, lines or ["0", "1", "2"]))
        assert all(after - before > 0.2 for before, after in pairwise(at))


def test_load_and_free_memory_hold_back_until_they_allow_it(here: Path) -> None:
    """Both only delay: with limits that are never met nothing starts, with those that always are, all does."""
    assert ours("--load", "1000000", "--memfree", "1", "-k", "--", "echo", ":::", "a", "b").stdout == "a\nb\n"
    held = run_cli("run", "--memfree", "1000T", "--deadline", "1", "--", "echo", ":::", "a")
    assert (held.returncode, held.stdout) == (75, "")
