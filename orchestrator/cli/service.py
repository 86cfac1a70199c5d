"""`quiesce unit` and `quiesce doctor`: print a service for systemd, and check the host."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from orchestrator.cli import run_command, stdout
from orchestrator.cli.declare import Argument, Exit, Option
from orchestrator.cli.exit import print_error
from orchestrator.cli.options import JournalOption, expand, seconds, size
from orchestrator.cli.run import journal_location
from orchestrator.cli.setting_sources import combine, warn_of_unknown_variables
from orchestrator.integrations.doctor.checks import CheckStatus, Finding, Plan, run_checks, worst
from orchestrator.integrations.doctor.survey import collect_facts
from orchestrator.integrations.probes import client
from orchestrator.integrations.systemd.unit import (
    RESTART_SECONDS,
    STATE,
    WATCHDOG_SECONDS,
    ServiceUnit,
    memory_for,
    render,
)
from orchestrator.journal import path_of, unsupported_reason
from orchestrator.setting_list import list_settings
from runtime.errors import UsageError
from runtime.terminal import has_colour
from runtime.text import printable, printable_json

UserOption = Annotated[
    str | None,
    Option(help="User that runs the service. (default: you; for root, the owner of the journal's directory)"),
]
DirectoryOption = Annotated[str, Option(help="Working directory of the service.")]
WritableOption = Annotated[
    list[str] | None,
    Option(metavar="PATH", help="A directory that agents write to. May be given more than once."),
]
MemoryMaxOption = Annotated[
    int | None,
    Option(parser=size, metavar="SIZE", help="Memory of the whole service. (default: workers * --memory-limit + 256M)"),
]
WatchdogOption = Annotated[
    float,
    Option(parser=seconds, metavar="TIME", help="Restart the service when its loop is stuck for this long; 0: never."),
]
RestartOption = Annotated[float, Option(parser=seconds, metavar="TIME", help="Seconds before a restart.")]

_HOMES = ("/home/", "/root/", "/run/user/")
_PRIVATE = ("/tmp/", "/var/tmp/")  # noqa: S108 - directories that a service has for itself


def register(app: typer.Typer) -> None:
    """Add the commands to an app. entry.py runs `probe` without importing this module."""
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(unit)
    app.command()(doctor)
    app.command()(probe)


def unit(
    context: typer.Context,
    *,
    user: UserOption = None,
    directory: DirectoryOption = ".",
    writable: WritableOption = None,
    memory_max: MemoryMaxOption = None,
    watchdog: WatchdogOption = WATCHDOG_SECONDS,
    restart_delay: RestartOption = RESTART_SECONDS,
) -> None:
    """Print a hardened systemd service for a run: `quiesce unit AGENT --input FILE …`.

    Give it the agent and the options of `run` as well, and install what it prints as /etc/systemd/system/NAME.service.
    It resumes the run at every start, and stops within its TimeoutStopSec, which is computed from --grace and
    --term-grace. Without --journal, the journal is stored below /var/lib/quiesce.
    """
    command = run_command.parse(context.args, "quiesce unit")
    home = os.path.abspath(directory)
    journal, state, folders = _journal(command)
    owner = user or _user(folders)
    program = run_command.program()
    folders += [_existing(path) for path in writable or ()]
    read_paths = _read_by(command, program, home)
    hidden = [path for path in (*read_paths, *folders) if path.startswith(_PRIVATE)]
    _warn(command, hidden)
    service = ServiceUnit(
        run_id=command.run_id,
        agent=command.agent,
        command=command.argv(program, journal),
        directory=home,
        ladder=command.settings.ladder,
        user=owner,
        state=state,
        writable=[path for path in folders if path not in hidden],
        bound=[path for path in folders if path in hidden],
        bound_read_only=_outermost(set(hidden) - set(folders)),
        reads_home=any(path.startswith(_HOMES) for path in read_paths),
        memory_max=memory_max or memory_for(command.settings.workers, command.settings.memory_limit),
        watchdog=watchdog,
        restart_delay=restart_delay,
    )
    stdout.print_all(render(service))


def _warn(command: run_command.RunCommand, hidden: Sequence[str]) -> None:
    """Print a warning for each thing that will keep the service from working unless it is changed before the start."""
    files = [*command.input_paths, command.agent.rpartition(":")[0]]
    warnings = [f"there is no {path} yet" for path in files if os.path.isabs(path) and not os.path.exists(path)]
    if hidden:
        warnings.append(f"{hidden[0]} is in /tmp, which is cleaned up now and then: keep it elsewhere")
    if command.journal is not None and (reason := unsupported_reason(command.journal)):
        warnings.append(reason)
    for warning in warnings:
        print_error(f"quiesce: warning: {warning}")


_DOCTOR_SETTINGS = {
    name: setting
    for name, setting in list_settings().items()
    if name in ("workers", "grace", "term_grace", "memory_limit", "host_grace")
}


@expand(settings=_DOCTOR_SETTINGS)
def doctor(
    *,
    journal: JournalOption = None,
    json: Annotated[bool, Option("--json", help="Print the findings as one JSON object.")] = False,
    settings: dict[str, Any],
) -> None:
    """Check this host: what works, what is degraded, and how to repair it.

    Give it the options of the run. It exits with 0 if all works, 1 if something is degraded, 2 if something is broken.
    """
    run = combine(settings, None, os.environ)
    warn_of_unknown_variables(os.environ)
    facts = collect_facts(journal_location(journal))
    findings = run_checks(facts, Plan(run.workers, run.ladder, run.memory_limit, run.host_grace))
    verdict = worst(findings)
    if json:
        report = {"verdict": verdict, "workers": run.workers, "findings": findings}
        stdout.print_all(printable_json(msgspec.json.encode(report).decode()) + "\n")
    else:
        stdout.print_all("".join(f"{line}\n" for line in _render_findings(findings)))
    raise Exit(verdict.exit_code)


def probe(
    port: Annotated[int, Argument(metavar="PORT", help="The --probe-port of the run.")],
    path: Annotated[str, Argument(metavar="PATH", help="/livez, /readyz or /startupz.")],
) -> None:
    """Query a health probe of a run on this host or in this container; exit with 0 for yes, 1 for no."""
    raise Exit(client.main([str(port), path]))


def _render_findings(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        verdict = f"{finding.verdict:8}"
        if has_colour(sys.stdout):
            verdict = typer.style(verdict, fg=_COLOURS[finding.verdict])
        yield f"{verdict}  {finding.name:13}  {printable(finding.found)}"
        if finding.remedy:
            yield f"{'':8}  {'':13}  → {printable(finding.remedy)}"


_COLOURS = {
    CheckStatus.WORKS: typer.colors.GREEN,
    CheckStatus.DEGRADED: typer.colors.YELLOW,
    CheckStatus.BROKEN: typer.colors.RED,
}


def _journal(command: run_command.RunCommand) -> tuple[str, str | None, list[str]]:
    """Return the journal's location, the state directory that systemd creates for it, and the folders it writes to."""
    if command.journal is None:
        state = f"quiesce/{run_command.file_name(command.run_id)}"
        return f"{STATE}/{state}/quiesce.db", state, []
    given = path_of(command.journal)
    if given is None:
        return command.journal, None, []
    path = Path(os.path.abspath(given))
    return str(path), None, [_existing(str(path.parent))]


def _read_by(command: run_command.RunCommand, program: list[str], directory: str) -> list[str]:
    """Return the files and directories that the service must be able to read, as far as they are known."""
    ours = str(Path(__file__).parents[2])
    agent = os.path.dirname(command.agent.rpartition(":")[0])
    paths = [program[0], sys.executable, sys.prefix, sys.base_prefix, ours, *command.input_paths, directory]
    return [*filter(os.path.isabs, [*paths, agent]), *map(os.path.realpath, [program[0], sys.executable])]


def _outermost(paths: set[str]) -> list[str]:
    """Return the paths that are not below another one of them."""
    return sorted(path for path in paths if not any(path.startswith(f"{other}/") for other in paths))


def _existing(path: str) -> str:
    """Return the absolute path of a directory. Raises UsageError if it is missing: systemd would not start."""
    full = os.path.abspath(path)
    if not os.path.isdir(full):
        raise UsageError(f"there is no directory {full}: make it first, so that the service can write to it")
    return full


def _user(folders: list[str]) -> str | None:
    """Return the user of the service: the caller, or for root the owner of the journal's directory, if there is one."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    return pwd.getpwuid(os.stat(folders[0]).st_uid).pw_name if folders else None
