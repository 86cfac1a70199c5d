"""Answer questions with tools and a language model, many at once: an agent that waits, and how it is stopped.

    python examples/llm.py demo       # start a server, run the batch, stop the server; again after Ctrl-C: it continues

The agent is the function `answer`. It shows what quiesce does for an asynchronous agent: an interrupt arrives at
whatever it awaits, its streams are closed, a wait between two attempts ends early, the one step that must not be
cut in half is shielded, and tools that have been called are not called again. Server, client and tools are in llmlib/.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from contextlib import aclosing
from typing import Any

from llmlib import client, tools
from runtime import ExecutionState, RetryPolicy, agent

URL = "LLM_URL"
"""The environment variable that says where the server is."""
RETRIES = RetryPolicy(attempts=6, delay=0.25, max_delay=4.0, retry_on=(client.Busy, OSError, EOFError))
REPORT_EVERY = 20  # words


@agent(name="answer")
async def answer(task_input: dict[str, Any], state: ExecutionState) -> dict[str, Any]:
    """Answer one question: `{"key": "q1", "question": "…"}`. The result depends on the question alone."""
    key, question = str(task_input["key"]), str(task_input["question"])
    calls = tools.plan(question)
    notes = dict(state.snapshot or {})
    state.emit("agent_call", phase="start", question=question, known=len(notes))

    async with state.parallel(max_workers=3, name="tools") as parallel:
        for name in [name for name in calls if name not in notes]:
            parallel.add(tool_call, name, calls[name], notes, state, key=name)
        await parallel.gather()

    ordered = {name: notes[name] for name in calls}
    text = await llm_call(f"{question}\n\n{ordered}", state)
    await store(key, text, state)
    state.emit("agent_call", phase="end", words=text.count(" ") + 1)
    return {"question": question, "answer": text, "notes": ordered}


async def tool_call(name: str, tool: tools.Tool, notes: dict[str, Any], state: ExecutionState) -> None:
    """Call one tool, and save what it returns: an interrupted task does not call it again."""
    state.emit("tool_call", phase="start", tool=name)
    notes[name] = await tool(state.check_interrupt)
    state.save_snapshot(notes)
    state.emit("tool_call", phase="end", tool=name)


async def llm_call(prompt: str, state: ExecutionState) -> str:
    """Ask the model, again if the server is busy. An interrupt ends the wait between two attempts."""
    began = time.monotonic()
    for attempt in itertools.count(1):
        state.emit("llm_call", phase="start", attempt=attempt)
        try:
            text = await read_stream(prompt, state)
        except (client.Refused, OSError, EOFError) as error:
            wait = RETRIES.decide(error, attempt=attempt, elapsed=time.monotonic() - began)
            if wait is None:
                raise
            wait = max(wait, error.retry_after if isinstance(error, client.Busy) else 0.0)
            state.emit("llm_call", phase="retry", attempt=attempt, error=str(error), wait=wait)
            await state.sleep(wait)
        else:
            state.emit("llm_call", phase="end", attempt=attempt, words=text.count(" ") + 1)
            return text
    raise AssertionError("attempts are counted without end")


async def read_stream(prompt: str, state: ExecutionState) -> str:
    """Read one answer, word by word. The stream is registered, so that it is closed whatever happens to the task."""
    words: list[str] = []
    stream = client.stream(os.environ[URL], "/v1/complete", {"prompt": prompt})
    state.register_generator(stream, name="llm stream")
    async with aclosing(stream):
        async for word in stream:
            words.append(word)
            if len(words) % REPORT_EVERY == 0:
                state.emit("llm_call", phase="stream", words=len(words))
    state.unregister_generator(stream)
    return " ".join(words)


async def store(key: str, text: str, state: ExecutionState) -> None:
    """Store the answer, in two steps that belong together: an interrupt waits until both are done."""
    async with asyncio.timeout(10):
        with state.shield():
            begun = await client.post(os.environ[URL], "/v1/answers", {"key": key, "step": "begin"})
            await asyncio.sleep(begun["wait"])
            await client.post(os.environ[URL], "/v1/answers", {"key": key, "step": "end", "text": text})


if __name__ == "__main__":
    from llmlib.commands import app  # only the command line needs it: executors import this file, too

    app()
