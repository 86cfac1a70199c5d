"""`quiesce unit` and `quiesce doctor`: a service for systemd, and a look at the host."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from orchestrator.cli import run_command, stdout
from orchestrator.cli.exit import print_error
from orchestrator.cli.options import (
    GraceOption,
    HostGraceOption,
    JournalOption,
    MemoryOption,
    TermGraceOption,
    WorkersOption,
    seconds,
    size,
)
from orchestrator.cli.run import journal_location
from orchestrator.config import Settings
from orchestrator.integrations.doctor import facts as survey
from orchestrator.integrations.doctor.checks import CheckStatus, Finding, Plan, run_checks, worst
from orchestrator.integrations.systemd import unit as units
from orchestrator.journal import path_of, unsupported_reason
from runtime.errors import UsageError
from runtime.text import printable, printable_json

UserOption = Annotated[
    str | None, typer.Option(help="Who runs it. (default: you; for root, the owner of the journal's directory)")
]
DirectoryOption = Annotated[str, typer.Option(help="Its working directory.")]
WritableOption = Annotated[
    list[str] | None,
    typer.Option(metavar="PATH", help="A directory that agents write to. May be given more than once."),
]
MemoryMaxOption = Annotated[
    int | None,
    typer.Option(parser=size, metavar="SIZE", help="For the whole service. (default: workers * --memory-limit + 256M)"),
]
WatchdogOption = Annotated[
    float, typer.Option(parser=seconds, metavar="S", help="Restart it when its loop is stuck for so long; 0: never.")
]
RestartOption = Annotated[float, typer.Option(parser=seconds, metavar="S", help="Seconds before a restart.")]

_HOMES = ("/home/", "/root/", "/run/user/")
_PRIVATE = ("/tmp/", "/var/tmp/")  # noqa: S108 - names of what a service has for itself


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(unit)
    app.command()(doctor)


def unit(
    context: typer.Context,
    *,
    user: UserOption = None,
    directory: DirectoryOption = ".",
    writable: WritableOption = None,
    memory_max: MemoryMaxOption = None,
    watchdog: WatchdogOption = units.WATCHDOG_SECONDS,
    restart_delay: RestartOption = units.RESTART_SECONDS,
) -> None:
    """Print a hardened systemd service for a run: `quiesce unit AGENT --input FILE …`.

    Give it the agent and the options of `run` as well, and install what it prints as /etc/systemd/system/NAME.service.
    It resumes the run at every start, and stops within its TimeoutStopSec, which is computed from --grace and
    --term-grace. Without --journal, the journal lives below /var/lib/quiesce.
    """
    found = run_command.parse(context.args, "quiesce unit")
    home = os.path.abspath(directory)
    journal, state, folders = _journal(found)
    owner = user or _user(folders)
    program = run_command.program()
    folders += [_existing(path) for path in writable or ()]
    read = _read_by(found, program, home)
    hidden = [path for path in (*read, *folders) if path.startswith(_PRIVATE)]
    _warn(found, hidden)
    service = units.ServiceUnit(
        run_id=found.run_id,
        agent=found.agent,
        command=found.argv(program, journal),
        directory=home,
        ladder=found.settings.ladder,
        user=owner,
        state=state,
        writable=[path for path in folders if path not in hidden],
        bound=[path for path in folders if path in hidden],
        bound_read_only=_outermost(set(hidden) - set(folders)),
        reads_home=any(path.startswith(_HOMES) for path in read),
        memory_max=memory_max or units.memory_for(found.settings.workers, found.settings.memory_limit),
        watchdog=watchdog,
        restart_delay=restart_delay,
    )
    stdout.print_all(units.render(service))


def _warn(found: run_command.RunCommand, hidden: Sequence[str]) -> None:
    """Whatever will keep the service from working unless somebody does something; it may be about to be done."""
    files = [found.source, found.agent.rpartition(":")[0]]
    doubts = [f"there is no {path} yet" for path in files if os.path.isabs(path) and not os.path.exists(path)]
    if hidden:
        doubts.append(f"{hidden[0]} is in /tmp, which is cleaned up now and then: keep it elsewhere")
    if found.journal is not None and (why := unsupported_reason(found.journal)):
        doubts.append(why)
    for doubt in doubts:
        print_error(f"quiesce: warning: {doubt}")


def doctor(
    *,
    workers: WorkersOption = None,
    grace: GraceOption = None,
    term_grace: TermGraceOption = None,
    memory_limit: MemoryOption = None,
    journal: JournalOption = None,
    host_grace: HostGraceOption = None,
    json: Annotated[bool, typer.Option("--json", help="JSON, one object.")] = False,
) -> None:
    """Look at this host, and tell what will work, what is degraded, and how to mend it.

    Give it the options of the run. It ends with 0 if all works, 1 if something is degraded, 2 if something is broken.
    """
    given = {"workers": workers, "grace": grace, "term_grace": term_grace, "memory_limit": memory_limit}
    settings = Settings.from_options(**{name: value for name, value in given.items() if value is not None})
    facts = survey.collect_facts(journal_location(journal))
    findings = run_checks(facts, Plan(settings.workers, settings.ladder, settings.memory_limit, host_grace))
    verdict = worst(findings)
    if json:
        found = {"verdict": verdict, "workers": settings.workers, "findings": findings}
        stdout.print_all(printable_json(msgspec.json.encode(found).decode()) + "\n")
    else:
        stdout.print_all("".join(f"{line}\n" for line in _render_findings(findings)))
    raise typer.Exit(verdict.exit_code)


def _render_findings(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        verdict = f"{finding.verdict:8}"
        if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
            verdict = typer.style(verdict, fg=_COLOURS[finding.verdict])
        yield f"{verdict}  {finding.name:13}  {printable(finding.found)}"
        if finding.remedy:
            yield f"{'':8}  {'':13}  → {printable(finding.remedy)}"


_COLOURS = {
    CheckStatus.WORKS: typer.colors.GREEN,
    CheckStatus.DEGRADED: typer.colors.YELLOW,
    CheckStatus.BROKEN: typer.colors.RED,
}


def _journal(found: run_command.RunCommand) -> tuple[str, str | None, list[str]]:
    """Its place; the state directory that systemd is to make for it, if it is to; the folders to be written to."""
    if found.journal is None:
        state = f"quiesce/{run_command.file_name(found.run_id)}"
        return f"{units.STATE}/{state}/quiesce.db", state, []
    given = path_of(found.journal)
    if given is None:
        return found.journal, None, []
    path = Path(os.path.abspath(given))
    return str(path), None, [_existing(str(path.parent))]


def _read_by(found: run_command.RunCommand, program: list[str], directory: str) -> list[str]:
    """The files and directories that it cannot do without, as far as they are known."""
    ours = str(Path(__file__).parents[2])
    agent = os.path.dirname(found.agent.rpartition(":")[0])
    paths = [program[0], sys.executable, sys.prefix, sys.base_prefix, ours, found.source, directory]
    return [*filter(os.path.isabs, [*paths, agent]), *map(os.path.realpath, [program[0], sys.executable])]


def _outermost(paths: set[str]) -> list[str]:
    """Those that are not in one of the others."""
    return sorted(path for path in paths if not any(path.startswith(f"{other}/") for other in paths))


def _existing(path: str) -> str:
    """A directory that is there: systemd refuses to start a service whose ReadWritePaths are not."""
    full = os.path.abspath(path)
    if not os.path.isdir(full):
        raise UsageError(f"there is no directory {full}: make it first, so that the service can write to it")
    return full


def _user(folders: list[str]) -> str | None:
    """Whoever asks; root asks for somebody else: the owner of the journal's directory, or nobody in particular."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    return pwd.getpwuid(os.stat(folders[0]).st_uid).pw_name if folders else None
