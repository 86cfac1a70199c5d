"""Requests to a living run that are no interrupts, in the form of the table of requests. Pure.

*Rejected*: a column for the kind of a request, which would be a schema of its own for a request that the control socket
carries wherever there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runtime.interrupt_signal import build_signal
from runtime.reasons import InterruptReason

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

_STACKS: Final = "quiesce:stacks"
"""In place of what has triggered it: no interrupt has that."""


def stacks_request(triggered_by: str) -> InterruptSignal:
    """Return the request for the stacks of a run. `triggered_by`: what asks for them."""
    return build_signal(InterruptReason.CUSTOM, triggered_by, _STACKS)


def is_stacks_request(signal: InterruptSignal) -> bool:
    """Return whether a request is one for stacks; its message says what asks."""
    return signal.triggered_by == _STACKS
