"""Name calls so that the same program, started again, finds their results.

A call is named by its content (the function and its arguments), or by what the program's own `key` function says.
The same name again in one start gets a number: the calls are alike, so it does not matter which of them gets which.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from runtime.errors import UsageError
from runtime.failure import MAIN_NAMES
from runtime.ipc import codec
from runtime.ipc.calls import Call
from runtime.ipc.pickling import dump
from runtime.reasons import escape_surrogates

KeyFunction = Callable[..., str]
"""Return the name of a call from its arguments: `key(*args, **kwargs)`."""

LONGEST_KEY = 1000


class CallNamer:
    """Name the calls of one executor. Any thread may call."""

    def __init__(self, key: KeyFunction | None, *, by_content: bool) -> None:
        self._key = key
        self._by_content = by_content
        self._count = 0
        self._times: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def compares(self) -> bool:
        """Whether a stored call of the same name may be another one, because the program chose the name."""
        return self._key is not None and not getattr(self._key, "is_by_content", False)

    def name(self, call: Call) -> str:
        """Return the key of a call's task. Raises UsageError, and what the program's function raises."""
        if not self._by_content and self._key is None:
            with self._lock:
                self._count += 1
                return str(self._count)
        base = _content(call) if self._key is None else _chosen(self._key, call)
        with self._lock:
            self._times[base] += 1
            times = self._times[base]
        return base if times == 1 else f"{base} #{times}"


def _chosen(key: KeyFunction, call: Call) -> str:
    function, args, kwargs = call
    name = key(*args, **kwargs)
    if not isinstance(name, str):
        raise UsageError(f"key returned {name!r:.80} for a call of {function_name(function)}: it must return a string")
    return escape_surrogates(f"{function_name(function)}: {name}"[:LONGEST_KEY])


def _content(call: Call) -> str:
    function, args, kwargs = call
    digest = hashlib.sha256(dump(function))
    digest.update(codec.encode([list(args), kwargs])[0])  # JSON if it can be: a pickle may differ for equal values
    return f"{function_name(function)}-{digest.hexdigest()[:32]}"


def function_name(function: Any) -> str:
    """Return the qualified name of a function, of the class of another callable, or of what a partial is of."""
    while hasattr(function, "func") and not hasattr(function, "__qualname__"):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    module = "__main__" if named.__module__ in MAIN_NAMES else named.__module__
    return escape_surrogates(f"{module}.{named.__qualname__}")


def program_run_id() -> str:
    """Return the id of the run of this program, for executors whose `key` names calls only."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    stem = os.path.splitext(os.path.basename(main))[0] if main else "interactive"
    return f"calls-{escape_surrogates(stem)[:100]}"
