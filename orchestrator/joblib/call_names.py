"""Name the calls that a journal keeps, so that the program, started again, gets their results."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

_BESIDE: Final = ("sklearn.callback",)
"""Packages whose objects say who watches a call: they have ids and times, and do not change its result."""

KeyFunction = Callable[..., str]
"""Return the name of a call from its arguments: `key(*args, **kwargs)`."""


class CallNames:
    """Name calls by what the program's own `key` says, else by their content.

    It is the `key` of a SupervisedExecutor, which asks for a name while a call is submitted, in the same thread. What
    the executor knows as arguments is one pickle by then, so `note` is called before, with the call itself.
    """

    def __init__(self, key: KeyFunction | None) -> None:
        self._key = key
        self._noted = threading.local()

    @property
    def is_by_content(self) -> bool:
        """Whether calls of one name are alike: then the stored one is not compared with the one that is handed in."""
        return self._key is None

    def note(self, args: tuple[Any, ...], kwargs: dict[str, Any], content: bytes) -> str:
        """Name the call that this thread submits next. Return the hash of its content.

        `content` is a pickle that is the same in each start of the program.
        """
        digest = hashlib.sha256(content).hexdigest()[:32]
        self._noted.name = digest if self._key is None else self._key(*args, **kwargs)
        return digest

    def __call__(self, _digest: str) -> str:
        """Return the name of the call that was noted last, which has this hash."""
        name: str = self._noted.name
        return name


def leave_out_watchers(value: Any) -> Any:
    """Reduce an object that is beside the content of a call to a constant. For `pickling.dump`."""
    return (str, ("watcher",)) if type(value).__module__.startswith(_BESIDE) else NotImplemented


def are_there_watchers() -> bool:
    """Return whether any call can have such objects."""
    return any(package in sys.modules for package in _BESIDE)
