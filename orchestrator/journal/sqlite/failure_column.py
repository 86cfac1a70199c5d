"""Convert the description of a failure to the text in the file, and back. Pure."""

from __future__ import annotations

import msgspec

from orchestrator.journal.sqlite.columns import escape_surrogates, readable
from runtime.failure import Failure
from runtime.user_frames import Frame


class _FailureText(msgspec.Struct, frozen=True, omit_defaults=True):
    """A failure as JSON that people can read: its arguments are text."""

    type: str
    bases: list[str] = []
    frame: Frame | None = None
    arguments: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_FailureText).decode


def failure_text(failure: Failure) -> str:
    """Return the stored form of a failure. Its names come from an executor: they may hold lone surrogates."""
    frame = failure.frame
    plain = _FailureText(
        type=escape_surrogates(failure.type),
        bases=list(map(escape_surrogates, failure.bases)),
        frame=None
        if frame is None
        else Frame(escape_surrogates(frame.file), frame.line, escape_surrogates(frame.function)),
        arguments=None if failure.arguments is None else readable(failure.arguments),
    )
    return _encode(plain).decode()


def read_failure(text: str) -> Failure:
    """Return the failure of a stored text. Raises a ValueError if it is none."""
    plain = _decode(text)
    arguments = None if plain.arguments is None else plain.arguments.encode()
    return Failure(type=plain.type, bases=plain.bases, frame=plain.frame, arguments=arguments)
