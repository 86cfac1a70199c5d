"""The interrupt signal as the machinery carries it: the fields of InterruptSignal without pydantic.

Theory. Importing pydantic takes as long as starting two interpreters. Supervisor, guardian and executors all make and
pass on signals; few programs read one. So what the machinery makes is a `PlainSignal`, and `public` makes the
InterruptSignal when an attribute that users read (`state.interrupt_signal`, `error.signal`, `outcome.signal`) is read.
For type checkers a PlainSignal is an InterruptSignal, it compares as one, and `is_signal` knows both.

Rejected: an InterruptSignal that is imported when the first one is made, because a stop would then import pydantic in
all executors at once (64 of them: 3 s of processor time, before any agent has noticed the stop).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, overload

import msgspec

from runtime.reasons import InterruptReason, aware, escape_surrogates

C = TypeVar("C")

if TYPE_CHECKING:
    from runtime.signal_record import InterruptSignal as InterruptSignal  # noqa: PLC0414 - exported

    class PlainSignal(InterruptSignal):
        """An InterruptSignal that pydantic did not make."""
else:

    def __getattr__(name: str) -> Any:
        """Load InterruptSignal when it is first used (PEP 562)."""
        if name != "InterruptSignal":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = importlib.import_module("runtime.signal_record").InterruptSignal
        return globals()[name]

    class PlainSignal(msgspec.Struct, frozen=True, dict=True, kw_only=True, forbid_unknown_fields=True, eq=False):
        """An InterruptSignal that pydantic did not make. It has those methods of the model that the machinery uses."""

        reason: InterruptReason
        message: str = ""
        triggered_at: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))
        triggered_by: str = ""
        save_checkpoint: bool = True

        def __post_init__(self) -> None:
            for name in ("message", "triggered_by"):
                text = getattr(self, name)
                if not text.isascii():
                    msgspec.structs.force_setattr(self, name, escape_surrogates(text))
            if self.triggered_at.tzinfo is not UTC:
                msgspec.structs.force_setattr(self, "triggered_at", aware(self.triggered_at))

        def __eq__(self, other: object) -> bool:
            if not is_signal(other):
                return NotImplemented
            return all(getattr(self, name) == getattr(other, name) for name in self.__struct_fields__)

        def __hash__(self) -> int:
            return hash((self.reason, self.message, self.triggered_at, self.triggered_by, self.save_checkpoint))

        def model_dump(self, *, mode: str = "python") -> dict[str, Any]:
            """Return the fields by name, as the model does."""
            return msgspec.to_builtins(self) if mode == "json" else msgspec.structs.asdict(self)

        def model_dump_json(self) -> str:
            """Return the fields as JSON, as the model does."""
            return msgspec.json.encode(self).decode()

        def model_copy(self, *, update: Mapping[str, Any]) -> PlainSignal:
            """Return a copy with other values in some fields."""
            return msgspec.structs.replace(self, **update)


_DOC = "Why it was interrupted, when and by whom; None if it was not. Made when it is first read."


def is_signal(value: object) -> TypeGuard[InterruptSignal]:
    """Return whether a value is a signal of either kind."""
    record = sys.modules.get("runtime.signal_record")  # not imported for its own sake: it loads pydantic
    return isinstance(value, PlainSignal) or (record is not None and isinstance(value, record.InterruptSignal))


def plain(signal: InterruptSignal) -> PlainSignal:
    """Return the PlainSignal of a sound signal; `public` gives the very same signal back."""
    if isinstance(signal, PlainSignal):
        return signal
    made = PlainSignal(**signal.__dict__)
    made.__dict__["public"] = signal
    return made


@overload
def public(signal: InterruptSignal) -> InterruptSignal: ...
@overload
def public(signal: None) -> None: ...
@overload
def public(signal: InterruptSignal | None) -> InterruptSignal | None: ...
def public(signal: InterruptSignal | None) -> InterruptSignal | None:
    """Return the InterruptSignal of a signal, always the same one; None for None."""
    if not isinstance(signal, PlainSignal):
        return signal
    made: InterruptSignal | None = signal.__dict__.get("public")
    if made is None:
        fields = signal.model_dump()
        made = signal.__dict__.setdefault(
            "public", importlib.import_module("runtime.signal_record").InterruptSignal(**fields)
        )
    return made


def decode_signal(text: str | bytes) -> PlainSignal:
    """Return the signal that was written as JSON. Raises ValueError for what is none."""
    try:
        return msgspec.json.decode(text, type=PlainSignal)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no signal: {error}") from error


def with_public_signal(kind: type[C]) -> type[C]:
    """Make the field `signal` of a record give an InterruptSignal when it is read, whatever kind it was made with.

    A class decorator for records with slots (dataclasses, msgspec structs).
    """
    slot: Any = kind.signal  # type: ignore[attr-defined]
    field = property(lambda record: public(slot.__get__(record, kind)), slot.__set__, doc=_DOC)
    kind.signal = field  # type: ignore[attr-defined]
    return kind
