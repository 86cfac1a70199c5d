"""Arguments of an agent on the command line: `--arg NAME=VALUE` and `--config FILE`, and how they differ from a run's.

They belong to the identity of a run, because they change its results. An executor checks them against the agent
(runtime/executor/arguments.py): the command never imports it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from orchestrator.cli.declare import Option
from orchestrator.identity import RunMismatchError, shorten
from orchestrator.journal import RunRecord
from runtime.errors import UsageError
from runtime.ipc import codec

ArgOption = Annotated[
    list[str] | None,
    Option(
        "--arg",
        metavar="NAME=VALUE",
        help="An argument of the agent; VALUE is JSON, else text. Repeatable; it wins over --config.",
    ),
]
ConfigOption = Annotated[
    str | None, Option("--config", metavar="FILE", help="Arguments of the agent: a file of JSON or TOML.")
]

_encode = msgspec.json.Encoder(order="sorted").encode


def read_arguments(arg: Sequence[str] | None, config: str | None) -> dict[str, Any]:
    """Return the arguments of these options. Raises UsageError."""
    arguments = {} if config is None else _read_file(config)
    for text in arg or ():
        name, found, value = text.partition("=")
        if not found or not name.isidentifier():
            raise UsageError(f"--arg {text}: give NAME=VALUE, with the name of a parameter of the agent")
        arguments[name] = _parse(value)
    return arguments


def _parse(text: str) -> Any:
    try:
        return codec.decode_json(text.encode())
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return text


def _read_file(name: str) -> dict[str, Any]:
    path = Path(name)
    kind = path.suffix.lower()
    if kind not in (".json", ".toml"):
        raise UsageError(f"--config {name}: its name must end in .json or .toml")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--config {name}: {error.strerror}") from None
    try:
        values = tomllib.loads(data.decode()) if kind == ".toml" else codec.decode_json(data)
        if isinstance(values, dict):
            return dict(codec.decode_json(_encode(values)))  # dates of TOML are text in JSON
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UsageError(f"--config {name} is not {kind[1:].upper()}: {error}") from None
    raise UsageError(f"--config {name}: it has no object with arguments by name")


def describe_agent(agent: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the journal keeps of the agent of a run."""
    return {"agent": agent, "args": dict(arguments)} if arguments else {"agent": agent}


def arguments_of(run: RunRecord) -> dict[str, Any]:
    """Return the arguments that a run was begun with."""
    arguments = run.agent.get("args") if isinstance(run.agent, dict) else None
    return dict(arguments) if isinstance(arguments, dict) else {}


def agent_source(agent: str, arguments: Mapping[str, Any]) -> bytes:
    """Return what an executor loads: the agent's name and, behind a NUL, its arguments (LoadAgent)."""
    return agent.encode() + (b"\0" + _encode(arguments) if arguments else b"")


def check_arguments(run: RunRecord, given: Mapping[str, Any], advice: str, *, all_given: bool) -> None:
    """Raise RunMismatchError if these are not the arguments that a run was begun with.

    all_given: a name that is not given differs too; else only those that are given are compared.
    """
    stored = arguments_of(run)
    for name in {**stored, **given} if all_given else given:
        now, then = (_show(values, name) for values in (given, stored))
        if now != then:
            now, then = shorten(now, then)
            raise RunMismatchError(
                f"run {run.run_id} was begun with the argument {name} {then}, and it is {now} now; {advice}"
            )


def _show(values: Mapping[str, Any], name: str) -> str:
    return _encode(values[name]).decode() if name in values else "not given"
