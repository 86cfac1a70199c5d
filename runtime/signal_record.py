"""The record that says why something was interrupted. It is pydantic's, whose import takes longer than a query.

The machinery carries `runtime.plain_signal.PlainSignal` instead, and makes this one for those who read it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from runtime.reasons import InterruptReason, aware, escape_surrogates

Text = Annotated[str, AfterValidator(escape_surrogates)]
Moment = Annotated[datetime, AfterValidator(aware)]


class InterruptSignal(BaseModel):
    """The record that says why something was interrupted.

    `triggered_at` is an aware UTC datetime (a naive one that is handed in counts as UTC). `save_checkpoint` asks the
    agent to keep its snapshot.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: InterruptReason
    message: Text = ""
    triggered_at: Moment = Field(default_factory=lambda: datetime.now(UTC))
    triggered_by: Text = ""
    save_checkpoint: bool = True
