"""Build interrupt signals from arguments of any type. A leaf between errors and model.

Theory. The code that asks for a stop is often in trouble already: an error handler that formats a broken object, a
checker that decodes foreign JSON. A request that raises ValidationError does not stop anything, so nothing here raises:
what is not understood is replaced by a default, and the original is quoted in the message where that can help.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from runtime.plain_signal import PlainSignal, decode_signal, is_signal, plain
from runtime.reasons import InterruptReason, escape_surrogates

FIELDS = ("reason", "message", "triggered_at", "triggered_by", "save_checkpoint")

MESSAGE_LIMIT = 10_000
"""Characters of a message that are kept: it is copied into every record of the interrupt."""

TRIGGER_LIMIT = 1_000
"""Characters of `triggered_by` that are kept."""


def build_signal(
    reason: object = InterruptReason.USER_CANCELLED,
    message: object = "",
    triggered_by: object = "",
    save_checkpoint: object = True,
    triggered_at: object = None,
) -> PlainSignal:
    """Return a signal for any arguments. Never raises.

    reason: an InterruptReason, its value or its name in any case; None is USER_CANCELLED. Anything else is CUSTOM, and
    is quoted in the message.
    message, triggered_by: text; bytes are decoded as UTF-8, other objects are converted by `str`. An object that
    cannot be converted is named by its type. Text beyond MESSAGE_LIMIT or TRIGGER_LIMIT is cut.
    save_checkpoint: its truth value; True if it is None or has none.
    triggered_at: a datetime, a naive one in UTC; anything else is now.
    """
    known = _reason(reason)
    text = _text(message, MESSAGE_LIMIT)
    if known is None:
        known = InterruptReason.CUSTOM
        quoted = f"reason {_text(reason, 200)!r}"
        text = f"{text} ({quoted})" if text else quoted
    return PlainSignal(
        reason=known,
        message=text,
        triggered_at=triggered_at if isinstance(triggered_at, datetime) else datetime.now(UTC),
        triggered_by=_text(triggered_by, TRIGGER_LIMIT),
        save_checkpoint=_truth(save_checkpoint),
    )


def as_signal(signal: object) -> PlainSignal:
    """Return `signal` as the machinery carries it; if it is not sound, one that says as much as it does. Never raises.

    A subclass may carry fields that no other process can read, and `model_construct` checks nothing.
    """
    if isinstance(signal, PlainSignal):
        return signal
    if not is_signal(signal):
        return build_signal(InterruptReason.CUSTOM, signal)
    fields: dict[str, Any] = {name: signal.__dict__.get(name) for name in FIELDS}
    if set(signal.__dict__) == set(FIELDS) and _is_sound(fields):
        return plain(signal)
    return build_signal(**fields)


def read_signal(text: str | bytes) -> PlainSignal:
    """Return the signal that was written as JSON. One that cannot be read still interrupts. Never raises."""
    try:
        return decode_signal(text)
    except ValueError:
        return build_signal(InterruptReason.CUSTOM, f"a signal that cannot be read: {_text(text, 200)!r}")


def _is_sound(fields: Mapping[str, Any]) -> bool:
    return (
        type(fields.get("reason")) is InterruptReason
        and isinstance(fields.get("message"), str)
        and len(fields["message"]) <= MESSAGE_LIMIT + 300
        and isinstance(fields.get("triggered_by"), str)
        and len(fields["triggered_by"]) <= TRIGGER_LIMIT
        and isinstance(fields.get("triggered_at"), datetime)
        and isinstance(fields.get("save_checkpoint"), bool)
    )


def _reason(reason: object) -> InterruptReason | None:
    if isinstance(reason, InterruptReason):
        return reason
    if reason is None:
        return InterruptReason.USER_CANCELLED
    name = _text(reason, 200).strip().lower().removeprefix("interruptreason.")
    try:
        return InterruptReason(name)
    except ValueError:
        return None


def _text(value: object, limit: int) -> str:
    if value is None:
        return ""
    try:
        text = _decoded(value, limit)
        return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"[: limit + 40]
    except BaseException:  # noqa: BLE001 - a stranger's __str__; the caller is interrupted, so nothing is lost
        return f"<{type(value).__name__}>"


def _decoded(value: object, limit: int) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value[: 4 * limit]).decode("utf-8", "backslashreplace")
    text = str(value)
    return escape_surrogates(str.__str__(text))  # a subclass of str may do anything


def _truth(value: object) -> bool:
    if value is None:
        return True
    try:
        return bool(value)
    except BaseException:  # noqa: BLE001 - as in _text
        return True
