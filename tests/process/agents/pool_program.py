"""Programs with a SupervisedExecutor, each one way to end: `python pool_program.py NAME [PATH]`. Also its functions."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from orchestrator.futures import SupervisedExecutor
from tests.support.eof import hold
from tests.support.sync import announce

PATH = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(os.devnull)


def hang(path: str) -> None:
    """Hold the proof, and go on for ever in Python code that looks at no flag."""
    hold(path)
    while True:
        time.sleep(0.01)


def announce_and_sleep(post: str) -> None:
    announce(post, str(os.getpid()))
    time.sleep(1000)


def note(path: str, value: int) -> int:
    """Write one line into the file, in one step, and return the value."""
    with open(path, "a") as file:
        file.write(f"{value}\n")
    return value


def note_late(path: str, begun: str, value: int) -> int:
    """Say that the call has begun, wait until the program's main code is over, note the value."""
    hold(begun)
    while not Path(f"{path}.over").exists():
        time.sleep(0.005)
    return note(path, value)


def note_or_wait(path: str, value: int) -> tuple[int, str]:
    """Note the value; the last ones wait until a second start of the program is said to go on."""
    if value >= 3 and not Path(f"{path}.again").exists():
        hold(f"{path}.held")
        while True:
            time.sleep(0.01)
    if value == 1 and not Path(f"{path}.mended").exists():
        raise ValueError(f"not yet: {value}")
    return note(path, value), "as it was"


def fail_to_begin() -> None:
    raise ValueError("error in initializer")


def nest(count: int) -> list[int]:
    with SupervisedExecutor(1) as inner:
        return list(inner.map(abs, range(-count, 0)))


def main(name: str) -> None:
    executor = SupervisedExecutor(2, grace=0.2, term_grace=5, handle_signals=name == "handled")
    if name == "end":
        executor.submit(note_late, str(PATH), f"{PATH}.held", 7)
        executor.submit(print, "printed by a call")
        Path(f"{PATH}.over").write_text("")
    elif name == "callback":
        executor.submit(pow, 2, 3).add_done_callback(lambda _: shut_down(executor))
    elif name == "exception":
        with executor:
            executor.submit(hang, str(PATH))
            await_holder()
            sys.exit(3)
    elif name == "fork":
        print(executor.submit(pow, 2, 3).result())
        if not os.fork():
            end_child(executor)
        os.wait()
        print(executor.submit(pow, 2, 4).result())
        executor.shutdown()
    elif name == "nested":
        with executor:
            print(list(executor.map(nest, [2, 3])))
    elif name == "wait":  # in shutdown, for a call that does not end
        executor.submit(hang, str(PATH))
        executor.shutdown()
    elif name in ("result", "handled"):
        with executor:
            executor.submit(hang, str(PATH)).result()
    elif name == "unused":
        print(executor)


def shut_down(executor: SupervisedExecutor) -> None:
    executor.shutdown()
    print("shut down")


def end_child(executor: SupervisedExecutor) -> None:
    """Try to use the parent's executor, and end."""
    try:
        executor.submit(pow, 2, 3)
    except RuntimeError as error:
        print(f"child: {error}")
    executor.shutdown()
    sys.exit(0)


def resume(name: str, count: int) -> None:
    """Make the same calls as at the last start, and print what came."""
    key = "the-run" if name == "content" else (lambda _, value: f"value {value}")
    with SupervisedExecutor(1, journal=f"{PATH}.db", key=key, grace=0.2, term_grace=5) as executor:
        futures = [executor.submit(note_or_wait, str(PATH), value) for value in range(count)]
        print(executor.run_id, [future.exception() or future.result() for future in futures])


def await_holder() -> None:
    end = time.monotonic() + 60
    while not Path(f"{PATH}.go").exists() and time.monotonic() < end:
        time.sleep(0.005)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if len(sys.argv) > 3:
        resume(sys.argv[1], int(sys.argv[3]))
    else:
        main(sys.argv[1])
