"""Names of signals, both ways. A leaf."""

from __future__ import annotations

import signal


def signal_name(number: int) -> str:
    """Return the name of a signal: SIGTERM, or SIGRTMIN+2, or its number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        is_real_time = signal.SIGRTMIN < number < signal.SIGRTMAX
        return f"SIGRTMIN+{number - signal.SIGRTMIN}" if is_real_time else f"signal {number}"


def signal_number(text: str) -> int:
    """Return the number of a signal from its name, with or without SIG, or its number. Raises ValueError."""
    name = text.strip().upper()
    if name.isdecimal() and 1 <= int(name) < signal.NSIG:
        return int(name)
    try:
        return int(signal.Signals[name if name.startswith("SIG") else f"SIG{name}"])
    except KeyError:
        raise ValueError(f"{text!r} is not the name of a signal, like TERM or INT") from None
