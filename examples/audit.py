"""Audit Python source files, as one would audit a company's code base.

    python examples/audit.py demo                     # all that follows; again after Ctrl-C: it goes on

    python examples/audit.py inputs > files.jsonl     # the standard library, or: inputs DIRECTORY
    quiesce run examples/audit.py:audit --input files.jsonl --workers 2 --journal audit.db --run-id audit
    quiesce results audit --journal audit.db --json | python examples/audit.py report

The agent is `audit`, below. It shows what a sync agent has to do to be stopped well: look at checkpoints often,
tell what it does, and save a snapshot where starting again would hurt. The analysis itself is in auditlib/.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from auditlib import pipeline, report, sources, summary
from auditlib.model import Json, Unreadable, digest, module_name, parse
from driver import USAGE, Batch, end_as, tell
from runtime import ExecutionState, agent

LARGE = 50_000
"""Bytes from which on a file's finished stages are kept in a snapshot."""


@agent(name="audit")
def audit(task_input: dict[str, Any], state: ExecutionState) -> Json:
    """Audit one file: `{"key": "json/decoder.py", "path": "/…/json/decoder.py"}`.

    The result depends on the file only: not on time, place, or how often the task was interrupted.
    """
    key, path = str(task_input["key"]), Path(task_input["path"])
    data = path.read_bytes()
    version = digest(data)
    root = path.parents[key.count("/")]
    try:
        source = parse(key, data, sources.top_level(root))
    except Unreadable as error:  # test data with bad syntax, bad encodings: worth telling, not a failure
        state.emit("finding", what="unreadable", file=key, line=error.line, text=str(error))
        return pipeline.unreadable(module_name(key), error)

    parts = finished_stages(state.snapshot, version)
    for number, stage in enumerate(pipeline.STAGES, start=1):
        state.raise_if_interrupted()
        if stage not in parts:
            parts[stage] = pipeline.run_stage(stage, source, look=state.raise_if_interrupted)
            for one in parts[stage]["findings"]:
                if one["kind"] in pipeline.NOTABLE:
                    state.emit("finding", what=one["kind"], file=key, line=one["line"], text=one["text"])
            if len(data) >= LARGE:
                state.save_snapshot({"version": version, "parts": parts})
        state.progress(number, len(pipeline.STAGES))
    return pipeline.combine(source, parts)


def finished_stages(snapshot: Any, version: str) -> dict[str, Json]:
    """The stages that an interrupted attempt has finished, if it was of the same version of the file."""
    if isinstance(snapshot, dict) and snapshot.get("version") == version:
        return dict(snapshot["parts"])
    return {}


def main() -> int:
    """`inputs` before a run, `report` after it; `demo` does both and the run."""
    parser = argparse.ArgumentParser(description="Inputs for, and the report of, an audit.")
    commands = parser.add_subparsers(dest="command", required=True)
    inputs = commands.add_parser("inputs", help="print one task for each source file, as JSON Lines")
    inputs.add_argument("root", nargs="?", type=Path, default=sources.standard_library())
    reading = commands.add_parser("report", help="read `quiesce results --json`, print what it says")
    reading.add_argument("results", nargs="?", type=argparse.FileType(encoding="utf-8"), default=sys.stdin)
    showing = commands.add_parser("demo", help="run or resume an audit, then print its report")
    showing.add_argument("root", nargs="?", type=Path, default=sources.standard_library())
    showing.add_argument("--folder", type=Path, default=Path("audit-demo"), help="of the journal and the inputs")
    showing.add_argument("--workers", type=int, default=2)
    for one in (reading, showing):
        one.add_argument("--tests", action="store_true", help="rank test code too")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it as it ends any Unix tool, without a traceback
    if arguments.command != "report" and not arguments.root.is_dir():
        parser.error(f"{arguments.root} is not a directory")
    if arguments.command == "demo":
        return demo(arguments)
    if arguments.command == "inputs":
        sys.stdout.writelines(json.dumps(one) + "\n" for one in sources.inputs(arguments.root))
        return 0
    try:
        show_report([json.loads(line) for line in arguments.results], tests=arguments.tests)
    except (ValueError, KeyError, TypeError):
        parser.error("this is not the output of `quiesce results --json` of an audit")
    return 0


def show_report(rows: list[Json], *, tests: bool) -> None:
    """Print the report of the rows of `quiesce results --json`."""
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=140)
    report.show(summary.summarise(rows), console, tests=tests)


def demo(arguments: argparse.Namespace) -> int:
    """Run the audit to its end, or go on with the one that was stopped, and print its report. Ends as quiesce does."""
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    inputs = folder / "files.jsonl"
    if not (folder / "audit.db").exists():
        inputs.write_text("".join(json.dumps(one) + "\n" for one in sources.inputs(arguments.root)), "utf-8")
    batch = Batch("audit", f"{__file__}:audit", inputs, folder / "audit.db", ("--workers", str(arguments.workers)))
    code = batch.start()
    if code in {0, 1}:  # finished; with 1 some tasks have failed, and the report names them
        show_report(batch.results(), tests=arguments.tests)
    elif code != USAGE:
        tell("Stopped. What is finished is kept; the same command goes on from here.")
    return end_as(code)


if __name__ == "__main__":
    sys.exit(main())
