"""The end of each task's output is kept until it is committed, without a gap."""

from __future__ import annotations

from orchestrator.core.output import KeptLine, OutputChunk
from orchestrator.engine.output_tails import OutputTails


def say(tails: OutputTails, task: int, *texts: str, is_again: bool = False) -> None:
    for text in texts:
        tails.add(task, 0, KeptLine(1.0, "stdout", text), is_again=is_again)


def texts(chunks: list[OutputChunk]) -> dict[int, list[str]]:
    return {chunk.task: [line.text for line in chunk.lines] for chunk in chunks}


def test_what_tasks_that_have_ended_said_is_committed_first() -> None:
    tails = OutputTails(1000)
    say(tails, 1, "one")
    say(tails, 2, "two")
    assert tails.take(everything=False) == []
    tails.end(2)
    assert texts(tails.take(everything=False)) == {2: ["two"]}
    assert texts(tails.take(everything=True)) == {1: ["one"]}
    assert tails.take(everything=True) == []


def test_older_output_stays_as_long_as_there_is_room_and_no_gap() -> None:
    tails = OutputTails(1000)
    say(tails, 1, "x" * 60)
    (first,) = tails.take(everything=True)
    assert (first.first, first.keep) == (0, None)
    say(tails, 1, "y" * 60)
    (second,) = tails.take(everything=True)
    assert (second.first, second.keep) == (1, 900)
    say(tails, 1, *["z" * 60] * 20)
    (third,) = tails.take(everything=True)
    assert (third.first, len(third.lines), third.keep) == (12, 10, 0)


def test_output_of_an_earlier_attempt_or_start_counts() -> None:
    tails = OutputTails(1000)
    say(tails, 1, "again", is_again=True)
    tails.is_resumed = True
    say(tails, 2, "resumed")
    assert [chunk.keep for chunk in tails.take(everything=True)] == [955, 953]


def test_a_line_that_is_too_long_is_its_end_and_nothing_can_be_kept() -> None:
    tails = OutputTails(100)
    say(tails, 1, "x" * 500 + "end")
    ((line,),) = texts(tails.take(everything=True)).values()
    assert line == "…" + "x" * 97 + "end"
    tails = OutputTails(0)
    say(tails, 1, "nothing")
    assert tails.take(everything=True) == []
