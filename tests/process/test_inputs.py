"""Every format of input through `quiesce run`: from the file to the results, resumed after a kill, and garbage."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.process.helpers import agent, look, runs_in
from tests.support.cli import Completed, run_cli, start_cli
from tests.support.sync import AnnouncementPipe, Gate
from tests.support.wait import wait_until

ECHO = agent("plain:echo")
MEET = agent("plain:meet")


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def make_parquet(path: Path) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"id": ["x", "y"], "n": [1, 2]}), path)
    return path


def outcomes(folder: Path, *words: str | os.PathLike[str], stdin: str | None = None) -> dict[str, Any]:
    """What the agent got, by key."""
    done = run_cli("run", ECHO, *words, "-w", "1", "-j", folder / "j.db", cwd=folder, stdin=stdin)
    assert done.returncode == 0, done
    return look(folder / "j.db").values


ROWS = {"x": {"id": "x", "n": "1"}, "y": {"id": "y", "n": "a\nb"}}


@pytest.mark.parametrize(
    ("name", "content", "words", "expected"),
    [
        ("in.csv", 'id,n\nx,1\ny,"a\nb"\n', ["--key-field", "id"], ROWS),
        ("in.tsv", 'id\tn\nx\t1\ny\t"a\nb"\n', ["--key-field", "id"], ROWS),
        ("in.json", '[{"key": "a"},\n 7]', [], {"a": {"key": "a"}, "2": 7}),
        ("in.json", '{"key": "a"}\n7\n', [], {"a": {"key": "a"}, "2": 7}),
        ("in.ndjson", '{"id": 5}\n{"id": 6}\n', ["--key-field", "id"], {"5": {"id": 5}, "6": {"id": 6}}),
        ("in.txt", "one\r\n\ntwo", [], {"1": "one", "3": "two"}),
        ("in.dat", "a\nb\0c\0", ["--input-format", "nul"], {"1": "a\nb", "2": "c"}),
        ("in.dat", "id,key\nx,y\n", ["--input-format", "csv"], {"y": {"id": "x", "key": "y"}}),
    ],
    ids=["csv", "tsv", "array", "lines in .json", "ndjson", "text", "nul", "chosen"],
)
def test_a_format(tmp_path: Path, name: str, content: str, words: list[str], expected: dict[str, Any]) -> None:
    write(tmp_path / name, content)
    assert outcomes(tmp_path, "-i", name, *words) == expected


def test_parquet(tmp_path: Path) -> None:
    make_parquet(tmp_path / "in.parquet")
    expected = {"x": {"id": "x", "n": 1}, "y": {"id": "y", "n": 2}}
    assert outcomes(tmp_path, "-i", "in.parquet", "--key-field", "id") == expected


def test_files_are_inputs_themselves(tmp_path: Path) -> None:
    """Those of a folder, or of a pattern; with a format they are read instead."""
    for name in ("data/b.txt", "data/a.txt", "data/.hidden", "data/deep/c.txt", "data/deep/d.pdf"):
        write(tmp_path / name, "1\n2\n")
    assert list(outcomes(tmp_path, "-i", "data")) == ["data/a.txt", "data/b.txt"]
    found = outcomes(tmp_path, "-i", "data/**", "-i", "data/deep/../deep/*.pdf")
    names = ["data/a.txt", "data/b.txt", "data/deep/c.txt", "data/deep/d.pdf", "data/deep/../deep/d.pdf"]
    assert found == {name: name for name in names}
    assert outcomes(tmp_path, "-i", "data/a.txt", "--input-format", "paths") == {"data/a.txt": "data/a.txt"}
    assert outcomes(tmp_path, "-i", "data/*.txt", "--input-format", "jsonl") == {
        "data/a.txt:1": 1, "data/a.txt:2": 2, "data/b.txt:1": 1, "data/b.txt:2": 2,
    }  # fmt: skip


def test_several_inputs_follow_each_other(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", '1\n\n{"key": "k"}\n')
    write(tmp_path / "b.csv", "n\n5\n")
    found = outcomes(tmp_path, "-i", "a.jsonl", "-i", "b.csv", "-i", "-", stdin="8\n")
    assert found == {"a.jsonl:1": 1, "k": {"key": "k"}, "b.csv:2": {"n": "5"}, "-:1": 8}


@pytest.mark.parametrize(
    ("form", "first", "second", "rest"),
    [
        ("jsonl", '{"key": "a"}\n', '{"key": "b"}\n', ""),
        ("csv", "key\na\n", '"b"\n', ""),
        ("tsv", "key\tx\na\t1\n", "b\t2\n", ""),
        ("json", '[{"key": "a"},', '{"key": "b"},', '{"key": "c"}]'),
    ],
)
def test_a_stream_is_worked_off_while_it_comes(tmp_path: Path, form: str, first: str, second: str, rest: str) -> None:
    """The task of each row has ended before the next one is written; standard input stays open meanwhile."""
    journal = tmp_path / "j.db"
    command = ("run", ECHO, "-i", "-", "--input-format", form, "-w", "1", "-j", str(journal), "--run-id", "r")
    with start_cli(*command, stdin=subprocess.PIPE) as running:
        for key, piece in (("a", first), ("b", second)):
            running.write(piece)
            wait_until(lambda: key in values_of(journal), 60)  # noqa: B023
        running.write(rest)
        running.close_stdin()
        done = running.wait()
    assert done.returncode == 0, done


def values_of(journal: Path) -> dict[str, Any]:
    """The results that are committed; none while there is no journal or no run."""
    try:
        return look(journal, "r").values
    except Exception:
        return {}


@pytest.mark.parametrize(
    ("name", "content", "words", "expected"),
    [
        ("in.csv", "", [], ["in.csv is empty", "a header and at least one row"]),
        ("in.csv", "a,b\n", [], ["in.csv has no tasks"]),
        ("in.csv", "a,b\n1,2\n3\n", [], ["in.csv, line 3", "1 field, and the header has 2"]),
        ("in.csv", 'a,b\n1,2\n"3,4\n', [], ["in.csv, line 3", "quote"]),
        ("in.csv", b"a\n\xff\xfe\n", [], ["in.csv, line 2", "UTF-16"]),
        ("in.csv", b"a\nx\xe4y\n", [], ["in.csv, line 2", "not UTF-8"]),
        ("in.csv", "id\n1\n2\n1\n", ["--key-field", "id"], ["in.csv, line 4: duplicate key '1'", "in.csv, line 2"]),
        ("in.csv", "id\n1\n", ["--key-field", "ID"], ["in.csv, line 2", '"ID"', "missing", "there are id"]),
        ("in.csv", 'id,b\n1,2\n"",3\n', ["--key-field", "id"], ["in.csv, line 3", '"id"', "is empty"]),
        ("in.jsonl", '{"id": 1}\n7\n', ["--key-field", "id"], ["in.jsonl, line 2", '"id"', "no object"]),
        ("in.jsonl", '{"id": [1]}\n', ["--key-field", "id"], ["in.jsonl, line 1", '"id" must be text']),
        ("in.json", "", [], ["in.json is empty"]),
        ("in.json", "[]", [], ["in.json has no tasks"]),
        ("in.json", '[{"a": 1}, {"a": 2', [], ["in.json, element 2", "closing bracket"]),
        ("in.json", '[{"a": 1}, nope]', [], ["in.json, element 2", "not JSON"]),
        ("in.txt", "\n \n", [], ["in.txt has no tasks"]),
        ("in.txt", "a\n", ["--key-field", "id"], ["--key-field id", "in.txt", "no fields"]),
        ("in.jsonl", "1\n", ["--input-format", "parquet"], ["in.jsonl, row 1", "not Parquet"]),
        ("in.jsonl", "1\n", ["--input-format", "xml"], ["xml", "csv"]),
        ("in.jsonl", "1\n", ["-i", "none/*.pdf"], ["no file matches", "none/*.pdf"]),
        ("in.jsonl", "1\n", ["-i", "none"], ["none", "No such file"]),
        ("in.jsonl", "1\n", ["-i", "-", "-i", "-"], ["standard input can be read once"]),
        ("in.jsonl", "1\n", ["-i", "-", "--input-format", "parquet"], ["stream", "parquet"]),
        ("in.jsonl", "1\n", ["-i", "-", "--input-format", "paths"], ["stream", "--input-format lines"]),
    ],
)
def test_garbage_is_one_line_and_no_run(
    tmp_path: Path, name: str, content: str | bytes, words: Sequence[str], expected: Sequence[str]
) -> None:
    if "parquet" in words and "-" not in words:
        pytest.importorskip("pyarrow")
    write(tmp_path / name, content)
    done = run_cli("run", ECHO, "-i", name, *words, "-w", "1", "-j", "j.db", cwd=tmp_path)
    assert refusal(done, expected), done
    assert runs_in(tmp_path / "j.db") == 0


def refusal(done: Completed, words: Sequence[str]) -> bool:
    """Whether a command was refused in one line that has these words."""
    (line,) = done.stderr.splitlines()
    return done.returncode == 2 and line.startswith("quiesce: ") and all(word in line for word in words)


@pytest.mark.parametrize(
    ("form", "content", "line"),
    [("csv", "key\na\nb\n1,2\n", 4), ("json", '[{"key": "a"}, {"key": "b"}, {]', 3), ("lines", b"a\nb\n\xff\n", 3)],
)
def test_garbage_in_a_stream_comes_behind_what_was_right(
    tmp_path: Path, form: str, content: str | bytes, line: int
) -> None:
    done = run_cli(
        "run", ECHO, "-i", "-", "--input-format", form, "-w", "1", "-j", tmp_path / "j.db", "--log-level", "error",
        stdin=content,
    )  # fmt: skip
    assert done.returncode == 2, done
    assert f"standard input, {'element' if form == 'json' else 'line'} {line}: " in done.stderr.splitlines()[-1]
    assert look(tmp_path / "j.db").record.status == "interrupted"


def test_a_table_is_resumed_after_a_kill(tmp_path: Path) -> None:
    """The supervisor is killed while a row is worked on: both `resume` and the same command go on, nothing twice."""
    journal, table = tmp_path / "j.db", tmp_path / "in.csv"
    for again in ("resume", "run"):
        run_id = f"by-{again}"
        with AnnouncementPipe(tmp_path / f"post-{again}") as post, Gate(tmp_path / f"gate-{again}") as gate:
            with table.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["key", "post", "gate"])
                writer.writerows([[f"k{number}", post.path if number == 3 else "", gate.path] for number in range(8)])
            run = ("run", agent("plain:meet_row"), "-i", table, "-w", "1", "-j", journal, "--run-id", run_id)
            with start_cli(*map(str, run)) as running:
                post.expect(1, 90)
                wait_until(lambda: len(look(journal, run_id).outcomes) == 3, 60)  # noqa: B023
                running.send(signal.SIGKILL)
                gate.open()
                assert running.wait().signal is signal.SIGKILL
            command = ("resume", run_id, "-j", journal) if again == "resume" else (*run, "--or-resume")
            with start_cli(*map(str, command)) as running:
                done = running.wait()
        assert done.returncode == 0, done
        assert look(journal, run_id).values == {f"k{number}": f"k{number}" for number in range(8)}
        assert look(journal, run_id).record.starts == 2
    table.write_text(table.read_text().replace("k5", "k9"))
    same = (agent("plain:meet_row"), "-i", str(table), "-w", "1", "-j", str(journal), "--run-id", "by-run")
    done = run_cli("run", *same, "--or-resume")
    assert refusal(done, [f"the task of {table}, line 7, (key 'k5')", "key 'k9' now"]), done


def test_a_stream_of_a_table_is_completed_from_a_file(tmp_path: Path) -> None:
    """What was read of standard input before a kill is the beginning of the file that completes the run."""
    journal, table = tmp_path / "j.db", write(tmp_path / "in.csv", "key,n\na,1\nb,2\nc,3\nd,4\n")
    run = ("run", ECHO, "-w", "1", "-j", str(journal), "--run-id", "r")
    with start_cli(*run, "-i", "-", "--input-format", "csv", stdin=subprocess.PIPE) as running:
        running.write("key,n\na,1\nb,2\n")
        wait_until(lambda: len(values_of(journal)) == 2, 60)
        running.send(signal.SIGKILL)
        running.wait()
    done = run_cli(*run, "-i", table, "--or-resume")
    assert done.returncode == 0, done
    assert look(journal, "r").values == {key: {"key": key, "n": str(n)} for n, key in enumerate("abcd", 1)}
    assert look(journal, "r").record.starts == 2


def test_a_glob_is_compared_on_resume(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / "data" / f"{name}.pdf", name)
    run = ("run", ECHO, "-i", "data/*.pdf", "-w", "1", "-j", "j.db", "--run-id", "r", "--or-resume")
    assert run_cli(*run, cwd=tmp_path).returncode == 0
    assert run_cli(*run, cwd=tmp_path).returncode == 0
    write(tmp_path / "data" / "d.pdf", "d")
    assert refusal(run_cli(*run, cwd=tmp_path), ["the task of data/*.pdf, file 4", "data/d.pdf"])


def peak_memory(folder: Path, rows: int) -> int:
    """Bytes that the supervisor of a run over this many rows has had at most when the last of them is worked on."""
    table = folder / f"{rows}.csv"
    with AnnouncementPipe(folder / f"post-{rows}") as post, Gate(folder / f"gate-{rows}") as gate:
        with table.open("w") as file:
            file.write("key,text,post,gate\n")
            file.writelines(f"{number},{'x' * 500},,\n" for number in range(rows))
            file.write(f"last,,{post.path},{gate.path}\n")
        command = ("run", agent("plain:meet_row"), "-i", table, "-w", "2", "-j", folder / f"{rows}.db")
        with start_cli(*map(str, command), "--log-level", "error", timeout=400) as running:
            post.expect(1, 380)
            status = Path(f"/proc/{running.pid}/status").read_text()
            gate.open()
            done = running.wait()
    assert f"{rows + 1} completed" in done.stderr, done
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_thousand_rows_cost_hardly_more_memory_than_ten_thousand(tmp_path: Path) -> None:
    """What fits into the bounded windows is there in both; the larger table has 45 MB more, as objects twice that."""
    few, many = peak_memory(tmp_path, 10_000), peak_memory(tmp_path, 100_000)
    assert many - few < 30 << 20, (few, many)
