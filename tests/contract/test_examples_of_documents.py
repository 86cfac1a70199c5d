"""The Python examples of documents run as they stand; docs/from-asyncio.md has its own test."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.process.helpers import jsonl
from tests.support.cli import run_cli

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

HAS_EXAMPLES = {
    "README.md": 3,
    "docs/arguments.md": 3,
    "docs/lifespan.md": 2,
    "docs/logging.md": 1,
    "docs/models.md": 1,
    "docs/output.md": 2,
    "docs/progress.md": 1,
    "docs/stopping.md": 1,
}
"""How many examples each document has."""


def examples_of(document: str) -> list[str]:
    found = BLOCK.findall((ROOT / document).read_text(encoding="utf-8"))
    assert len(found) == HAS_EXAMPLES[document]
    return found


def run(program: str, folder: Path) -> list[str]:
    """Run a script, with warnings as errors. Return the lines that it prints."""
    script = folder / "program.py"
    script.write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=folder, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_document_with_examples_is_tested() -> None:
    """That of docs/architecture.md is a fragment: tests/unit/orchestrator/testing has whole ones.

    The first screen of README.md and docs/tutorial.md are followed by tests/process/test_first_screen.py,
    docs/http.md by tests/process/test_http_document.py, docs/notebooks.md by tests/process/test_notebooks.py,
    docs/from-joblib.md by tests/process/test_joblib.py, docs/from-process-pools.md by test_from_process_pools.py.
    """
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")]
    with_examples = {str(path.relative_to(ROOT)) for path in documents if BLOCK.search(path.read_text("utf-8"))}
    names = (
        "from-asyncio",
        "library",
        "architecture",
        "tutorial",
        "http",
        "notebooks",
        "from-joblib",
        "from-process-pools",
    )
    elsewhere = {f"docs/{name}.md" for name in names}
    assert with_examples == {*HAS_EXAMPLES, *elsewhere}


def test_the_examples_of_the_readme(tmp_path: Path) -> None:
    """In the order in which they end. The reader has `store` and `inputs`."""
    _, agent, program = examples_of("README.md")
    given = "inputs = [{'pages': 3}, {'pages': 1}]\n\ndef store(number):\n    pass\n\n"
    assert sorted(run(given + agent + program, tmp_path)) == ["1 completed {'pages': 3}", "2 completed {'pages': 1}"]


def test_the_example_of_an_agent_that_logs(tmp_path: Path) -> None:
    agent, program = examples_of("docs/output.md")
    source = jsonl(tmp_path / "orders.jsonl", [{"id": 17, "items": ["a", "b"]}])
    (tmp_path / "agents.py").write_text(agent)
    done = run_cli("run", "agents.py:work", "--input", source, "-j", tmp_path / "j.db", cwd=tmp_path)
    assert "1 | INFO shop.orders: order 17 has 2 items" in done.stderr.splitlines(), done
    printed = "".join(run(program, tmp_path))  # two threads print: what they print at once may share a line
    assert sorted(re.findall(r"\d said: doubling \d|\d", printed)) == [
        "1 said: doubling 1",
        "2",
        "2 said: doubling 2",
        "4",
    ]


def test_the_example_of_a_program_that_takes_the_log(tmp_path: Path) -> None:
    (program,) = examples_of("docs/logging.md")
    lines = run(program, tmp_path)
    assert sorted(lines) == ["INFO shop 1 says: thinking about 1", "INFO shop run.finished: completed"]


def test_the_example_of_models_arrays_and_exceptions_prints_what_the_page_says(tmp_path: Path) -> None:
    (program,) = examples_of("docs/models.md")
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert run(program, tmp_path) == page.partition("```output\n")[2].partition("\n```")[0].splitlines()


def test_the_example_of_an_agent_that_stops_well(tmp_path: Path) -> None:
    (agent,) = examples_of("docs/stopping.md")
    assert run(f"{agent}\nprint(work({{'rows': 3}}, ExecutionState()))\n", tmp_path) == ["3"]


def test_the_examples_of_lifespans(tmp_path: Path) -> None:
    """Each is called by a supervisor, in a program that imports it."""
    for name, agent, task_input, value in (
        ("agents", "classify", "Why?", "question"),
        ("fetching", "fetch", "http://example.org", 18),
    ):
        example = next(block for block in examples_of("docs/lifespan.md") if block.startswith(f"# {name}.py"))
        (tmp_path / f"{name}.py").write_text(example)
        program = f"from {name} import {agent}\nfrom quiesce import Supervisor\n\nif __name__ == '__main__':\n"
        program += "    with Supervisor(workers=1) as supervisor:\n"
        program += f"        print([outcome.value for outcome in supervisor.map({agent}, [{task_input!r}])])\n"
        assert run(program, tmp_path) == [str([value])]


def test_the_example_of_a_program_that_watches_its_run(tmp_path: Path) -> None:
    (program,) = examples_of("docs/progress.md")
    printed = " ".join(run(program, tmp_path))  # by two threads, which may share a line
    assert "45" in printed
    assert "10 of 10, 0 failed, ? left" in printed


def test_the_examples_of_arguments(tmp_path: Path) -> None:
    """The first one is called by the program; the second one by hand, with a model of its own."""
    agents, configured, program = examples_of("docs/arguments.md")
    (tmp_path / "agents.py").write_text(agents)
    assert run(program, tmp_path) == ["1 long", "2 other"]
    call = "print(classify('word', ExecutionState(), settings=Settings(model='large', threshold=0.01)))"
    assert run(f"{configured}\n{call}\n", tmp_path) == ["large: True"]
