"""Make the random token by which the processes, the mark and the cgroup of one supervisor's run are known."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class RunToken:
    """A secret of this user's: it stands in the environment of the run's processes and in the journal.

    What all users can see, the name of the cgroup and the mark (runtime/process/run_mark.py), is made of it by hashes.
    """

    value: str

    @classmethod
    def make(cls) -> Self:
        """Make a token that no supervisor has had before."""
        return cls(f"{os.getpid()}-{secrets.token_hex(8)}")

    @property
    def mark(self) -> int:
        """Return the number that marks the processes of the run; 0 without a token."""
        if not self.value:
            return 0
        return 1 << 61 | int.from_bytes(self._digest(), "big") >> 3

    def leaf_name(self, run_id: str) -> str:
        """Return the name of the cgroup of a run."""
        return f"quiesce-{run_id}-{self.value.partition('-')[0]}-{self._digest().hex()}"

    def _digest(self) -> bytes:
        return hashlib.blake2b(self.value.encode(), digest_size=8).digest()
