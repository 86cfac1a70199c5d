"""Functions that the tests of the joblib backend call in executors."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib.parallel import get_active_backend

from orchestrator.joblib import register

register()  # an executor imports this module: its calls can name the backend, too


def square(number: int, power: int = 2) -> int:
    """Return a number's power."""
    return int(number**power)


def pid_of(_: object) -> int:
    """Return where the call is executed."""
    return os.getpid()


def fail(text: str) -> None:
    """Raise what a program would."""
    raise LookupError(text)


def wait_for(path: Path, *, exists: bool = True) -> None:
    """Wait until a file is there."""
    while path.exists() is not exists:
        time.sleep(0.005)


def linger(started: Path, ended: Path) -> None:
    """Say that the call has begun, wait for ever, and say that it was ended."""
    try:
        started.touch()
        while True:
            time.sleep(60)
    finally:
        ended.touch()


def fail_after(path: Path, text: str) -> None:
    """Raise when a file is there."""
    wait_for(path)
    fail(text)


def value_after(path: Path | None, value: Any) -> Any:
    """Return a value when a file is there."""
    if path is not None:
        wait_for(path)
    return value


def touch_and_return(path: Path, value: Any) -> Any:
    """Make a file, which lets another call go on."""
    path.touch()
    return value


def die(_: object = None) -> None:
    """End the executor as the kernel would."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(marker: Path, array: Any) -> float:
    """Return an array's sum; the first attempt kills the executor."""
    if not marker.exists():
        marker.touch()
        die()
    return float(array.sum())


def nested(level: int) -> list[Any]:
    """Return what each level of nested calls uses: the backend, and whether it is this process."""
    backend, _ = get_active_backend()
    here = [type(backend).__name__, os.getpid(), threading.current_thread() is threading.main_thread()]
    deeper = Parallel(n_jobs=2)(delayed(nested)(level - 1) for _ in range(2)) if level else []
    return [here, *deeper]


def nested_by_name(_: object) -> tuple[int, list[int]]:
    """Use the backend inside of a call of the backend."""
    with parallel_config(backend="quiesce", n_jobs=2):
        return os.getpid(), Parallel()(delayed(square)(number) for number in range(4))


def describe_array(array: Any) -> tuple[str, str, bool, float]:
    """Return what a call sees of an array: its type, its mode, whether it can be written, its sum."""
    return type(array).__name__, str(getattr(array, "mode", "")), bool(array.flags.writeable), float(array.sum())


def sum_deep(value: list[dict[str, Any]]) -> float:
    """Return the sum of an array inside of other objects."""
    return float(value[0]["deep"].sum())


def linger_with(started: Path, array: Any) -> None:
    """Leave this process's number in a file, and wait for ever with an array in hand."""
    started.with_suffix(".new").write_text(str(os.getpid()))
    started.with_suffix(".new").rename(started)
    while array[0]:
        time.sleep(60)


def add_one(array: Any) -> float:
    """Change an array in place, and return its sum."""
    array += 1
    return float(array.sum())


def filled(length: int, value: float) -> Any:
    """Return a large array."""
    import numpy as np  # noqa: PLC0415 - the caller of a test may have none of it

    return np.full(length, value)


def count_call(folder: Path, number: int, array: Any = None) -> float:
    """Leave a file for each execution. Return a value that depends on the arguments."""
    (folder / f"{number}-{time.monotonic_ns()}").touch(exist_ok=False)
    return number + (0.0 if array is None else float(array[0]))


def threads_allowed(_: object) -> tuple[str | None, str | None, str | None]:
    """Return the limits of numerical libraries."""
    return os.environ.get("OMP_NUM_THREADS"), os.environ.get("MKL_NUM_THREADS"), os.environ.get("OPENBLAS_NUM_THREADS")


def refuse_memory() -> None:
    """Have this executor open no memory of other processes, as if /proc did not allow it."""
    from runtime.ipc import shared_arrays  # noqa: PLC0415 - in the executor only
    from runtime.ipc.shared_memory import SharedMemoryLost  # noqa: PLC0415

    def refuse(*_: object, **__: object) -> int:
        raise SharedMemoryLost("/proc does not allow it")

    for name in ("map_segment", "open_segment"):
        setattr(shared_arrays, name, refuse)
