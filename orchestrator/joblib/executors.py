"""Executors that wait for the next `Parallel`: starting some anew for each call would take most of a second."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.joblib.call_names import CallNames

if TYPE_CHECKING:
    from orchestrator.futures import SupervisedExecutor

IDLE_SECONDS = 300.0
"""Seconds without use after which executors end; as loky's."""

Options = Mapping[str, Any]


@dataclass(eq=False)
class Pool:
    """Executors with the options that they were made with. `names`: how their calls are named, if a journal has them.

    The options are kept: objects among them are known by their address as long as they live.
    """

    options: Options
    executor: SupervisedExecutor
    names: CallNames | None
    pid: int = field(default_factory=os.getpid)
    timer: threading.Timer | None = None

    @property
    def is_kept(self) -> bool:
        """Whether it may serve another `Parallel`. What an initializer has set up is for one."""
        return self.options.get("initializer") is None

    def is_run_of(self, options: Options) -> bool:
        """Return whether executors with these options would be of the same run of the same journal."""
        run = [name for name in ("journal", "key", "run_id") if self.options.get(name) != options.get(name)]
        return options.get("journal") is not None and not run


def make_pool(options: Options) -> Pool:
    """Return a new pool. Its executors start with the first call.

    A call may import the backend because its script does, and never needs the supervisor: it is loaded here.
    """
    made, names = dict(options), None
    if made.get("journal") is not None and made.get("key") is not None:
        key = made["key"]
        if isinstance(key, str):
            made["run_id"] = key
        names = made["key"] = CallNames(key if callable(key) else None)
    executor = importlib.import_module("orchestrator.futures").SupervisedExecutor(**made)
    return Pool(options, executor, names)


class IdlePools:
    """Keep the pools of calls that are over, one for each set of options. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[str, Pool] = {}

    def take(self, options: Options) -> Pool:
        """Return a pool with these options: one that is idle, else a new one. It belongs to the caller then."""
        with self._lock:
            pool = self._idle.pop(_name(options), None)
            rivals = [name for name, idle in self._idle.items() if pool is None and idle.is_run_of(options)]
            others = [self._idle.pop(name) for name in rivals]
        if pool is not None:
            _stop_timer(pool)
            if pool.pid == os.getpid():  # after a fork it is the parent's
                return pool
        for other in others:  # they have the run: of another number of executors, for example
            _stop_timer(other)
            other.executor.shutdown()
        return make_pool(options)

    def give_back(self, pool: Pool, idle_seconds: float) -> None:
        """Keep a pool whose calls are over, for at most so many seconds; that of a journal as long as the program."""
        name, is_surplus = _name(pool.options), True
        with self._lock:
            if pool.is_kept and name not in self._idle:  # else another thread's, with the same options
                self._idle[name], is_surplus = pool, False
                if pool.names is None:
                    pool.timer = threading.Timer(idle_seconds, self._expire, (name, pool))
                    pool.timer.daemon = True
                    pool.timer.start()
        if is_surplus:
            pool.executor.shutdown()

    def close(self) -> None:
        """End all that are idle, and wait for that."""
        with self._lock:
            idle, self._idle = list(self._idle.values()), {}
        for pool in idle:
            _stop_timer(pool)
            pool.executor.shutdown()

    def _expire(self, name: str, pool: Pool) -> None:
        with self._lock:
            if self._idle.get(name) is not pool or pool.timer is not threading.current_thread():
                return
            del self._idle[name]
        pool.executor.shutdown()


def _stop_timer(pool: Pool) -> None:
    timer, pool.timer = pool.timer, None
    if timer is not None:
        timer.cancel()
        if timer.is_alive():
            timer.join()


def _name(options: Options) -> str:
    return repr(sorted((name, repr(value)) for name, value in options.items()))


IDLE = IdlePools()
"""Those of this process."""
