"""Say within an executor that it has come to the TERM rung: what ends processes of its own there must know at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_listeners: Final[dict[object, Callable[[], object]]] = {}


def when_reached(callback: Callable[[], object]) -> Callable[[], None]:
    """Have `callback` called when this process comes to the TERM rung. Return its remover.

    It is called in a signal handler of the main thread: it must not wait, lock or raise.
    """
    key = object()
    _listeners[key] = callback
    return lambda: _listeners.pop(key, None) and None


def announce() -> None:
    """Call all callbacks. Safe in a signal handler."""
    for callback in tuple(_listeners.values()):
        callback()
