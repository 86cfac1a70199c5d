"""Say whether text on a stream is coloured: one rule for all that people read."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Final, TextIO


class ColourMode(StrEnum):
    """What the user of a command wants: colours where they are of use, or a fixed answer."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


_chosen: Final = [ColourMode.AUTO]


def choose_colours(mode: ColourMode) -> None:
    """Set the mode of this process."""
    _chosen[0] = mode


def chosen_colours() -> ColourMode:
    """Return the mode of this process."""
    return _chosen[0]


def has_colour(stream: TextIO) -> bool:
    """Return whether text on a stream is coloured.

    If nothing was chosen: if it is a terminal with colours, whose user has not set NO_COLOR (https://no-color.org).
    """
    if chosen_colours() is not ColourMode.AUTO:
        return chosen_colours() is ColourMode.ALWAYS
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
