"""Exactly one thread drives the loop: its own, or a caller that waits."""

from __future__ import annotations

import threading
from collections.abc import Callable

from orchestrator.engine.seat import Seat


def _ignore() -> None:
    """Wake no selector."""


def _start(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def test_a_caller_gets_a_free_seat_and_a_second_one_does_not() -> None:
    seat = Seat(_ignore)
    with seat.visit() as is_driver, seat.visit() as is_second:
        assert is_driver
        assert not is_second
    with seat.visit() as is_driver:
        assert is_driver


def test_a_caller_that_wants_the_seat_wakes_its_owner_and_gets_it() -> None:
    woken = threading.Event()
    seat = Seat(woken.set)
    seat.take()
    got = threading.Event()

    def visit() -> None:
        with seat.visit() as is_driver:
            assert is_driver
            got.set()

    caller = _start(visit)
    assert woken.wait(60)
    assert seat.is_wanted
    assert not got.is_set()
    seat.leave()
    assert got.wait(60)
    caller.join(60)
    assert not seat.is_wanted


def test_the_owner_takes_the_seat_back_when_the_caller_has_left() -> None:
    seat = Seat(_ignore)
    taken = threading.Event()

    def own() -> None:
        seat.take()
        taken.set()

    with seat.visit() as is_driver:
        assert is_driver
        owner = _start(own)
        assert not taken.wait(0.05)  # it must not drive beside the caller, however long that stays
    assert taken.wait(60)
    owner.join(60)


def test_the_owner_goes_on_at_once_for_those_who_wait_without_driving() -> None:
    seat = Seat(_ignore)
    taken = threading.Event()

    def own() -> None:
        seat.take()
        taken.set()

    with seat.follow():
        with seat.visit():
            owner = _start(own)
        assert taken.wait(60)
    owner.join(60)


def test_a_ring_while_the_seat_is_taken_changes_nothing() -> None:
    seat = Seat(_ignore)
    with seat.visit() as is_driver:
        seat.ring()
        assert is_driver
        taken = threading.Event()

        def own() -> None:
            seat.take()
            taken.set()

        owner = _start(own)
        assert not taken.wait(0.05)
    assert taken.wait(60)
    owner.join(60)


def test_callers_and_the_owner_never_drive_at_once() -> None:
    seat = Seat(_ignore)
    drivers: list[int] = []
    most = 0
    is_over = threading.Event()
    counting = threading.Lock()

    def drive() -> None:
        nonlocal most
        with counting:
            drivers.append(threading.get_ident())
            most = max(most, len(drivers))
        with counting:
            drivers.remove(threading.get_ident())

    def own() -> None:
        while not is_over.is_set():
            seat.take()
            drive()
            seat.leave()

    def call() -> None:
        for _ in range(300):
            with seat.visit() as is_driver:
                if is_driver:
                    drive()

    owner = _start(own)
    callers = [_start(call) for _ in range(3)]
    for caller in callers:
        caller.join(120)
        assert not caller.is_alive()
    is_over.set()
    seat.ring()
    owner.join(60)
    assert not owner.is_alive()
    assert most == 1
