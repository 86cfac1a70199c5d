"""The ways in which progress can be shown. Apart from `choice`, because every command has the option."""

from __future__ import annotations

from enum import StrEnum


class ProgressMode(StrEnum):
    """How progress is shown."""

    AUTO = "auto"
    ON = "on"
    PLAIN = "plain"
    OFF = "off"
