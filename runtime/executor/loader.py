"""Loading an agent inside an executor: from a module, a file, or a blob."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from runtime import native
from runtime.agent_arguments import check_required, settable_parameters
from runtime.agent_signature import with_state
from runtime.agents import AgentInfo, describe, options_of
from runtime.command.spec import COMMAND_AGENT
from runtime.error_line import describe_error
from runtime.errors import UsageError
from runtime.executor.namesakes import explain, step_aside
from runtime.ipc import pickling
from runtime.ipc.executor_protocol import LoadAgent
from runtime.ipc.main_module import importing, load_file
from runtime.ipc.signals import MAIN_THREAD_SIGNALS


class AgentLoadError(UsageError):
    """An agent cannot be loaded. The text is one line; `detail` is the traceback, if there is one."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class InterruptibleImport:
    """Send the main thread SIGTERM when the wake-up socket becomes readable within the `with` block.

    An import reaches no checkpoint, so a thread watches for it, and exists only as long: a permanent one would be woken
    in every executor by every stop, and cost each of them time.
    """

    def __init__(self, wake_fd: int) -> None:
        self._wake_fd = wake_fd
        self._over = os.pipe()
        self._thread = native.Thread(self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def _watch(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, MAIN_THREAD_SIGNALS)
        poll = native.poll()
        for fd in (self._wake_fd, self._over[0]):
            poll.register(fd, select.POLLIN)
        if self._over[0] not in dict(poll.poll()):
            signal.pthread_kill(native.MAIN_THREAD, signal.SIGTERM)

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # the import closed them; then the thread stays, and watches nothing
            os.write(self._over[1], b"!")
            self._thread.join()
            for fd in self._over:
                os.close(fd)


def load(hire: LoadAgent) -> tuple[Callable[[Any, Any], Any], AgentInfo]:
    """Load the agent of a LoadAgent order and check it; it then takes an input and a state. Raises AgentLoadError."""
    source, _, arguments = hire.source.partition(b"\0") if hire.by_name else (hire.source, b"", b"")
    name = source.decode() if hire.by_name else "the agent"
    try:
        with importing(name.rpartition(":")[0] or name):
            target = _load_by_name(name, arguments) if hire.by_name else pickling.load(hire.source)
        info = describe(target)
        return with_state(target, info.state_argument), info
    except AgentLoadError:
        raise
    except UsageError as error:
        raise AgentLoadError(str(error)) from error
    except (KeyboardInterrupt, Exception, SystemExit) as error:
        said = f"cannot load {name}: {describe_error(error)}{explain(error)}"
        raise AgentLoadError(said, traceback.format_exc()) from error


def _load_by_name(name: str, arguments: bytes) -> Any:
    if name == COMMAND_AGENT:  # imported where it is wanted only: most executors run agents of their user
        return importlib.import_module("runtime.command.agent").load(arguments)
    return _with_arguments(_by_name(name), arguments)


def _with_arguments(target: Any, arguments: bytes) -> Any:
    """Bind the arguments of the run. The module that does is imported where one may be of use: it loads pydantic."""
    if not callable(target) or inspect.isclass(target):  # describe says what is wrong
        return target
    name = options_of(target).name or getattr(target, "__qualname__", None) or type(target).__name__
    if not arguments and "pydantic" not in sys.modules:  # no model whose defaults are to be bound
        with suppress(TypeError, ValueError):  # a builtin without a signature
            check_required(settable_parameters(target), (), name)
        return target
    values = msgspec.json.decode(arguments) if arguments else {}
    return importlib.import_module("runtime.executor.arguments").bind(target, values, name)


def _by_name(name: str) -> Any:
    source, separator, attribute = name.rpartition(":")
    if not separator or not source or not attribute:
        raise AgentLoadError(f"{name!r} is not an agent: write package.module:name or path/to/file.py:name")
    module = _from_file(source) if source.endswith(".py") or os.sep in source else _from_module(source)
    target: Any = module
    for part in attribute.split("."):
        try:
            target = getattr(target, part)
        except AttributeError:
            raise AgentLoadError(f"{source} has no {attribute!r}{_hint(module, part)}") from None
    return target


def _from_module(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m module` would; the `quiesce` script's own path has it not
    try:
        step_aside()
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise AgentLoadError(
                f"there is no module {error.name!r} (looked in the current directory and sys.path)"
            ) from None
        raise


def _from_file(source: str) -> ModuleType:
    path = Path(source).resolve()
    if not path.is_file():
        raise AgentLoadError(f"there is no file {source}")
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # as `python file.py` would: its neighbours can be imported
    step_aside()
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    if loaded is not None:  # a module of that name exists already: keep both
        name = f"{name}__agent"
    if importlib.util.spec_from_file_location(name, path) is None:
        raise AgentLoadError(f"{source} is not a Python file")
    return load_file(name, path)


def _hint(module: ModuleType, wanted: str) -> str:
    names = [
        name
        for name, value in vars(module).items()
        if callable(value) and not isinstance(value, type) and getattr(value, "__module__", None) == module.__name__
    ]
    near = difflib.get_close_matches(wanted, names, n=3)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; it has {', '.join(sorted(names)[:8])}{', …' if len(names) > 8 else ''}" if names else ""
