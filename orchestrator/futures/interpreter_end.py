"""At the interpreter's end: finish what was submitted, as ProcessPoolExecutor does.

It has to be done before the interpreter joins its threads, so not in `atexit`. `threading._register_atexit` is what
concurrent.futures itself uses.
"""

from __future__ import annotations

import threading
import weakref

from orchestrator.futures.pool import CallPool, settle_all

_pools: weakref.WeakSet[CallPool] = weakref.WeakSet()
_is_over = False


def keep(pool: CallPool) -> None:
    """Have the work of an executor finished at the interpreter's end."""
    _pools.add(pool)


def refuse_at_end() -> None:
    """Raise RuntimeError if the interpreter is at its end: nothing can be begun any more."""
    if _is_over:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")


def _finish() -> None:
    global _is_over  # noqa: PLW0603 - once in the life of a process
    _is_over = True
    settle_all(list(_pools))


threading._register_atexit(_finish)  # type: ignore[attr-defined]  # noqa: SLF001 - see above
