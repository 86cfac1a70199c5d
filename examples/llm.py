"""Answer questions with tools and a language model, many at once, against a real (if small) HTTP server.

    python examples/llm.py demo                   # starts the server, runs the batch, stops the server
    python examples/llm.py demo                   # again after Ctrl-C: goes on where it stopped

The agent is `answer`, below. It shows what an async agent gets: it is interrupted at whatever it awaits, its streams
are closed, its retries do not hold up the end, the one thing that must not be cut in half is shielded, and the
tools that have been called already are not called again. The server, the client and the tools are in llmlib/.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

from llmlib import demo, http, server, tools
from runtime import ExecutionState, RetryPolicy, agent

URL = "LLM_URL"
"""The environment variable that says where the server is."""
PATIENCE = RetryPolicy(attempts=6, delay=0.25, max_delay=4.0, never_on=(ValueError,))
TELL_EVERY = 20  # words


@agent(name="answer")
async def answer(task_input: dict[str, Any], state: ExecutionState) -> dict[str, Any]:
    """Answer one question: `{"key": "q1", "question": "…"}`. The result depends on the question only."""
    key, question = str(task_input["key"]), str(task_input["question"])
    url = os.environ[URL]
    notes = dict(state.snapshot or {})
    state.emit("agent_call", phase="start", question=question, known=len(notes))

    missing = [call for call in tools.plan(question) if call.key not in notes]
    async with state.parallel(max_workers=3, name="tools") as parallel:
        for call in missing:
            parallel.add(tool_call, call, notes, state, key=call.key)
        await parallel.gather()

    ordered = {call.key: notes[call.key] for call in tools.plan(question)}
    text = await llm_call(url, f"{question}\n\n{ordered}", state)
    await store(url, key, text, state)
    state.emit("agent_call", phase="end", words=text.count(" ") + 1)
    return {"question": question, "answer": text, "notes": ordered}


async def tool_call(call: tools.ToolCall, notes: dict[str, Any], state: ExecutionState) -> None:
    """Call one tool, and keep what it says: an interrupted task does not call it again."""
    began = time.perf_counter()
    state.emit("tool_call", phase="start", tool=call.tool, argument=call.argument)
    notes[call.key] = await tools.call(call, checkpoint=state.check_interrupt)
    state.save_snapshot(notes)
    state.emit("tool_call", phase="end", tool=call.tool, seconds=round(time.perf_counter() - began, 4))


async def llm_call(url: str, prompt: str, state: ExecutionState) -> str:
    """Ask the model. What is worth trying again is tried again; an interrupt ends the wait between two attempts."""
    began = time.monotonic()
    for attempt in range(1, PATIENCE.attempts + 1):
        state.emit("llm_call", phase="start", attempt=attempt, prompt_characters=len(prompt))
        try:
            text = await read_stream(url, prompt, state)
        except (http.Refused, http.BadMessage, OSError) as error:
            wait = PATIENCE.decide(error, attempt=attempt, elapsed=time.monotonic() - began)
            if wait is None or (isinstance(error, http.Refused) and not error.worth_retrying):
                raise
            if isinstance(error, http.Refused) and error.retry_after is not None:
                wait = max(wait, error.retry_after)
            state.emit("llm_call", phase="retry", attempt=attempt, error=str(error), wait=wait)
            await state.sleep(wait)
        else:
            seconds = time.monotonic() - began
            state.emit("llm_call", phase="end", attempt=attempt, words=text.count(" ") + 1, seconds=round(seconds, 3))
            return text
    raise AssertionError("the policy gives up before the attempts do")


async def read_stream(url: str, prompt: str, state: ExecutionState) -> str:
    """One answer, word by word. The stream is registered, so that it is closed whatever happens to the task."""
    words: list[str] = []
    stream = http.stream(url, "/v1/complete", {"prompt": prompt})
    state.register_generator(stream, name="llm stream")
    async with aclosing(stream):
        async for word in stream:
            words.append(word)
            if len(words) % TELL_EVERY == 0:
                state.emit("llm_call", phase="stream", words=len(words))
    state.unregister_generator(stream)
    return " ".join(words)


async def store(url: str, key: str, text: str, state: ExecutionState) -> None:
    """Store the answer, in two steps that belong together: an interrupt waits until both are done."""
    async with asyncio.timeout(10):
        with state.shield():
            begun = await http.post(url, "/v1/answers", {"key": key, "step": "begin"})
            await asyncio.sleep(begun["wait"])
            await http.post(url, "/v1/answers", {"key": key, "step": "end", "text": text})


def main() -> int:
    """`serve`, or `demo`, which needs nothing else."""
    parser = argparse.ArgumentParser(description="A server that answers slowly, and a batch of questions for it.")
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="serve until standard input ends; prints the URL first")
    serving.add_argument("--port", type=int, default=0)
    serving.add_argument("--word", type=float, default=server.Settings().word, help="seconds a word")
    serving.add_argument("--failing", type=float, default=server.Settings().failing, help="share of prompts, 0 to 1")
    serving.add_argument("--capacity", type=int, default=server.Settings().capacity, help="streams at once")
    showing = commands.add_parser("demo", help="start the server, run or resume a batch against it, stop it")
    showing.add_argument("--folder", type=Path, default=Path("llm-demo"), help="of the journal and the questions")
    showing.add_argument("--questions", type=int, default=200)
    showing.add_argument("--workers", type=int, default=2)
    showing.add_argument("--concurrency", type=int, default=16, help="questions at once in one worker")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it as it ends any Unix tool, without a traceback
    if arguments.command == "demo":
        options = ("--workers", str(arguments.workers), "--concurrency", str(arguments.concurrency))
        return demo.run(__file__, URL, arguments.folder, arguments.questions, options)
    settings = server.Settings(word=arguments.word, failing=arguments.failing, capacity=arguments.capacity)
    asyncio.run(server.serve(settings, arguments.port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
