"""Define the options that several commands share, and derive those of the settings from their list.

`expand` completes the signature that typer reads: a parameter `settings` becomes an option for each setting, and a
parameter whose type is a dataclass (`options: RunOptions`) an option for each of its fields; so does `given` for those
of RunOptions that may stand in the environment.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, get_args, get_type_hints

from orchestrator.cli.command_settings import from_surroundings, list_command_settings
from orchestrator.cli.declare import Option
from orchestrator.core.settings import Unit
from orchestrator.display.progress_mode import ProgressMode
from orchestrator.setting_list import Setting, list_settings
from orchestrator.units import parse_seconds, parse_size
from runtime.limits import LARGEST_COUNT
from runtime.statuses import Severity

if TYPE_CHECKING:
    pass

T = TypeVar("T")

PROBE_ADDRESS = "127.0.0.1"

_PANEL = "Settings, also in the environment or in quiesce.toml (docs/settings.md)"


seconds = parse_seconds
size = parse_size


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


JournalOption = Annotated[
    str | None,
    Option("--journal", "-j", metavar="PATH|URL", help="The journal. (default: quiesce.db)"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Options of `run` and `resume` that are no settings: they do not belong to the run, but to this command."""

    journal: JournalOption = None
    probe_port: Annotated[
        int | None,
        Option(
            min=0,
            max=65535,
            metavar="PORT",
            help="Serve /livez, /readyz, /startupz and /metrics on this port (0: any free port).",
        ),
    ] = None
    probe_address: Annotated[
        str, Option(metavar="ADDRESS", help="Address of the probes; * is every interface, for a kubelet.")
    ] = PROBE_ADDRESS
    termination_message: Annotated[
        str | None,
        Option(
            metavar="PATH",
            help="Write how the run ended to this file (4 KiB at most). (default: /dev/termination-log, if it exists)",
        ),
    ] = None
    log_format: Annotated[LogFormat, Option(help="Log lines for people or for programs.")] = LogFormat.CONSOLE
    log_level: Annotated[
        Severity | None,
        Option(help="The least severe lines to show. (default: info; warning under a live display)"),
    ] = None
    progress: Annotated[
        ProgressMode,
        Option(
            help="on: a live display on standard error; plain: a line every --progress-interval; off: neither; "
            "auto: on if that is a terminal, else plain."
        ),
    ] = ProgressMode.AUTO
    output: Annotated[
        str | None,
        Option(metavar="DIR", help="Write all that each task prints and logs to a file of its own in DIR."),
    ] = None
    as_json: Annotated[
        bool, Option("--json", help="At the end, print how the run ended as one JSON object on standard output.")
    ] = False
    interrupted_exit_code: Annotated[
        int | None,
        Option(
            min=0, max=255, help="Exit with this code when interrupted, instead of dying by the signal, or with 75."
        ),
    ] = None
    slurm_requeue: Annotated[
        int,
        Option(
            min=0,
            max=LARGEST_COUNT,
            metavar="N",
            help="When a warning of Slurm or a limit has stopped the run, requeue its job, which Slurm has restarted "
            "fewer than N times.",
        ),
    ] = 0


COMMAND_SETTINGS: Final = list_command_settings(RunOptions)
"""Those options of RunOptions that environment and configuration file may give, too, by name."""


def expand(
    command: Callable[..., None] | None = None, *, settings: Mapping[str, Setting] | None = None
) -> Callable[..., Any]:
    """Decorate a command of typer: expand its parameters `settings` and those that are groups of options.

    The command gets `settings`, a dict of the values that were given on the command line, and `options`, a RunOptions
    with what environment and configuration file have, too; or `given`, the values of
    its fields (of COMMAND_SETTINGS) on the command line. A parameter of another dataclass is a record of its options.
    `settings` restricts the settings to some of them.
    """
    if command is None:
        return functools.partial(expand, settings=settings)
    offered = list_settings() if settings is None else settings
    own = inspect.signature(command, eval_str=True).parameters
    takes_options = "options" in own or "given" in own
    offered_options = [field.name for field in fields(RunOptions)] if "options" in own else list(COMMAND_SETTINGS)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in own.items()
        if name != "options" and is_dataclass(parameter.annotation)
    }

    @functools.wraps(command)
    def run_command(**values: Any) -> None:
        given = {name: values.pop(name) for name in offered}
        values["settings"] = {name: value for name, value in given.items() if value is not None and value != []}
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        chosen: dict[str, Any] = {}
        if takes_options:
            chosen = {name: values.pop(name) for name in offered_options}
            chosen = {name: value for name, value in chosen.items() if value is not None}
        if "given" in own:
            values["given"] = chosen
        if "options" in own:
            values["options"] = RunOptions(**{**from_surroundings(COMMAND_SETTINGS, os.environ), **chosen})
        command(**values)

    expanded = {"settings", "options", "given", *groups}
    parameters = [parameter for name, parameter in own.items() if name not in expanded]
    parameters += [parameter for group in groups.values() for parameter in _group_parameters(group)]
    parameters += _run_parameters(offered_options) if takes_options else []
    parameters += [_setting_parameter(setting) for setting in offered.values()]
    run_command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run_command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run_command


def _run_parameters(names: Collection[str]) -> list[inspect.Parameter]:
    """Return the parameters of typer for the options of RunOptions. None: not given, where a variable may have it."""
    hints = get_type_hints(RunOptions, include_extras=True)
    return [
        _run_parameter(field.name, hints[field.name], field.default)
        for field in fields(RunOptions)
        if field.name in names
    ]


def _run_parameter(name: str, hint: Any, default: Any) -> inspect.Parameter:
    if name not in COMMAND_SETTINGS or default is None:
        return _keyword(name, hint, default)
    kind, option = get_args(hint)
    option = option.with_help(f"{option.help} (default: {COMMAND_SETTINGS[name].show(default)})")
    return _keyword(name, Annotated[kind | None, option], None)


def _group_parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [_keyword(field.name, hints[field.name], field.default) for field in fields(group)]


def _setting_parameter(setting: Setting) -> inspect.Parameter:
    """Return the parameter of typer for a setting. Its default is None: not given."""
    names = [setting.option, *([setting.short] if setting.short else [])]
    kind: Any
    more: dict[str, Any]
    if setting.unit is Unit.FLAG:
        kind, names, more = bool, [f"{setting.option}/--no-{setting.option[2:]}"], {}
    elif setting.unit is Unit.SLOT_ENV:
        kind, more = list[str], {"metavar": setting.metavar}
    elif setting.unit is Unit.COUNT:
        kind, more = int, {"min": setting.minimum, "metavar": setting.metavar}
    else:
        kind, more = str, {"parser": setting.read, "metavar": setting.metavar}
    option = Option(*names, help=setting.help, rich_help_panel=_PANEL, **more)
    return _keyword(setting.name, Annotated[kind | None, option], None)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
