"""Where in the nest of executions the running code stands: its address, `audit::parse::llm_call`.

A context variable, never a shared stack: each asyncio task has its own copy, so parallel branches cannot give each
other their addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

SEPARATOR = "::"

_address: ContextVar[str] = ContextVar("quiesce_address", default="")


def current_address() -> str:
    """Return the address of the running code; empty at the top."""
    return _address.get()


@contextmanager
def scope(name: str) -> Iterator[str]:
    """Run the body one level deeper, under `name`. Yields the new address."""
    outer = _address.get()
    token = _address.set(f"{outer}{SEPARATOR}{name}" if outer else name)
    try:
        yield _address.get()
    finally:
        try:
            _address.reset(token)
        except ValueError:  # closed from another context, as the collector does it: its address is not ours to change
            pass
