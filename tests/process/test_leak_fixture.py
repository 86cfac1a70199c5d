"""The leak fixture itself: each kind of thing left behind is caught, named, and gone for the next test."""

from __future__ import annotations

import os
import re
import textwrap

import pytest

from tests.support import procs
from tests.support.cli import ROOT

PRELUDE = """
import ctypes, multiprocess, os, signal, subprocess, sys, tempfile, threading, time
KEEP = []
"""

SLEEPER = "import os, sys, time; os.write(1, b'.'); time.sleep(60)"

START_DETACHED = f"""
    code = '''
import os, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.execv(sys.executable, [sys.executable, "-c", {SLEEPER!r}])
'''
    child = subprocess.Popen([sys.executable, "-c", "import sys\\n" + code], stdout=subprocess.PIPE)
    child.wait()
    with child.stdout as out:
        assert out.read(1) == b"."
"""

LEAKS = {
    "process": f"""
    child = subprocess.Popen([sys.executable, "-c", {SLEEPER!r}], stdout=subprocess.PIPE)
    child.stdout.read(1)
    child.stdout.close()
    KEEP.append(child)
""",
    "detached process": START_DETACHED,
    "forked process": """
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.close(read)
        os.write(write, b".")
        signal.pause()
    os.wait()
    os.read(read, 1)
    os.close(read)
    os.close(write)
""",
    "zombie": """
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
""",
    "fd": """
    KEEP.append(os.open("/etc/hostname", os.O_RDONLY))
""",
    "thread": """
    done = threading.Event()
    KEEP.append(done)
    threading.Thread(target=done.wait, args=(60,), name="forgotten", daemon=True).start()
""",
    "segment": """
    with open("/dev/shm/qt-%d" % os.getpid(), "w") as segment:
        segment.write("x")
""",
    "handler": """
    signal.signal(signal.SIGUSR1, lambda *_: None)
""",
    "mask": """
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
""",
    "wake-up fd": """
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    KEEP.extend([read, write])
""",
    "file": """
    handle, path = tempfile.mkstemp(prefix="forgotten")
    os.close(handle)
""",
}

TOLD = {
    "process": r"process: pid \d+ \(parent \d+, sleeping.*time\.sleep",
    "detached process": r"process: pid \d+ \(parent \d+, sleeping.*time\.sleep",
    "forked process": r"process: pid \d+ \(parent \d+, sleeping",
    "zombie": r"zombie: pid \d+",
    "fd": r"fd: \d+ -> /etc/hostname",
    "thread": r"thread: forgotten \(daemon thread",
    "segment": r"segment: /dev/shm/qt-\d+",
    "handler": r"handler: SIGUSR1 is .*lambda",
    "mask": r"handler: the signal mask changed: SIGUSR2",
    "wake-up fd": r"handler: the wake-up fd is still \d+",
    "file": r"file: /tmp/qt-\w+/forgotten",
}


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A pytest run of its own, under the same fixture."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest("from tests.support.leaks import no_leaks\n")
    return pytester


@pytest.mark.skipif(not procs.HAVE_PROC, reason="needs /proc")
def test_each_kind_of_leak_fails_its_test_and_spares_the_next(inner: pytest.Pytester) -> None:
    """In one run: every leaking test ends in an error that names the leak, and the test after it is clean."""
    tests = [
        f"def test_{number}_leaks():{body}\ndef test_{number}_next():\n    pass\n"
        for number, body in enumerate(LEAKS.values())
    ]
    inner.makepyfile(PRELUDE + "\n".join(tests))

    result = inner.runpytest_subprocess("-p", "no:randomly", "-q")

    result.assert_outcomes(passed=2 * len(LEAKS), errors=len(LEAKS))
    text = result.stdout.str()
    sections = dict(re.findall(r"_ ERROR at teardown of test_(\d+)_leaks _+\n((?:(?!___|===).*\n)*)", text))
    for number, kind in enumerate(LEAKS):
        assert re.search(TOLD[kind], sections[str(number)]), f"{kind}: {text}"
    for pid in re.findall(r"(?:process|zombie): pid (\d+)", text):
        assert not os.path.exists(f"/proc/{pid}"), text
    assert not [name for name in os.listdir("/dev/shm") if name.startswith("qt-")]


def test_a_segment_in_a_shared_directory_is_not_blamed_on_the_test(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a /dev/shm that is not the session's own, a new file that the test neither holds nor named is a stranger's."""
    monkeypatch.delenv("QUIESCE_TESTS_SHM", raising=False)
    inner.makepyfile(
        PRELUDE
        + textwrap.dedent(
            """
            def test_beside_another_program():
                open("/dev/shm/qt-of-another-program", "w").close()

            def test_holds_a_segment():
                KEEP.append(open("/dev/shm/qt-of-this-test", "w"))
            """
        )
    )
    result = inner.runpytest_subprocess("-p", "no:randomly", "-q")
    os.unlink("/dev/shm/qt-of-another-program")
    result.assert_outcomes(passed=2, errors=1)
    assert "segment: /dev/shm/qt-of-this-test" in result.stdout.str()
    assert "segment: /dev/shm/qt-of-another-program" not in result.stdout.str()


def test_a_tidy_test_passes(inner: pytest.Pytester) -> None:
    """Children that were waited for, files and descriptors that were closed, threads that were joined: no word."""
    inner.makepyfile(
        PRELUDE
        + textwrap.dedent(
            """
            def test_tidy():
                subprocess.run([sys.executable, "-c", "pass"], check=True)
                thread = threading.Thread(target=len, args=("",))
                thread.start()
                thread.join()
                with tempfile.TemporaryDirectory() as folder, open(os.path.join(folder, "x"), "w"):
                    pass
            """
        )
    )
    inner.runpytest_subprocess("-q").assert_outcomes(passed=1)


def test_a_stuck_test_fails_with_the_stacks_of_its_children(inner: pytest.Pytester) -> None:
    """The time limit ends the test; the child's Python stack says where it stood."""
    inner.makeconftest(
        "from tests.conftest import *\nfrom tests.conftest import pytest_timeout_set_timer, "
        "_children_dump_their_stacks\n"
    )
    inner.makepyfile(
        PRELUDE
        + textwrap.dedent(
            """
            import pytest

            @pytest.mark.timeout(50)
            def test_stuck():
                code = "import time\\ndef stuck_here():\\n    print(flush=True)\\n    time.sleep(60)\\nstuck_here()"
                child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
                child.stdout.readline()
                signal.raise_signal(signal.SIGALRM)  # as the timer does when the time is over
            """
        )
    )
    result = inner.runpytest_subprocess("-q", "-s")
    assert result.ret == 1
    text = result.stdout.str() + result.stderr.str()
    assert "Timeout" in text, text
    assert "children of the stuck test" in text, text
    assert "in stuck_here" in text, text
