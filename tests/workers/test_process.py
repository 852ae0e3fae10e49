"""Real processes: `python -m workers fake` from start to end."""

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from baton.wire import Hello, State, Status
from tests.workers.serving import WAIT, chat
from tests.workers.test_link import Controller, port_of

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("BATON_")}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def worker(*flags: str, **environ: str) -> AsyncIterator[Process]:
    """A worker process with the fake engine; it is killed where the test did not end it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers", "fake", *flags, stderr=PIPE, stdout=PIPE, env={**CLEAN, **environ}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_with(process: Process, words: str) -> str:
    """The next line of the log that holds the words."""
    assert process.stderr
    async with asyncio.timeout(WAIT):
        while words not in (line := (await process.stderr.readline()).decode()):
            assert line, "the process ended"
    return line


async def test_drains_on_sigterm() -> None:
    """Told to stop, a worker says so on its link, refuses new work, finishes what runs, and ends with 0."""
    controller = Controller(token="s3cret")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with await controller.start() as server:
        flags = ("--port", str(port), "--model-names", "m", "--tokens-per-second", "20")
        fleet = ("--controller-address", f"http://127.0.0.1:{port_of(server)}")
        async with (
            worker(*flags, *fleet, BATON_CLUSTER_TOKEN="s3cret") as process,
            httpx.AsyncClient(base_url=url, timeout=WAIT, headers={"authorization": "Bearer s3cret"}) as client,
        ):
            await line_with(process, "ready: m")
            async with client.stream("POST", "/v1/chat/completions", json=chat(stream=True, max_tokens=20)) as stream:
                lines = stream.aiter_lines()
                await anext(lines)
                process.send_signal(signal.SIGTERM)
                await heard(controller, State.DRAINING)
                refused = await client.post("/v1/chat/completions", json=chat())
                assert refused.status_code == 503
                rest = [line async for line in lines if line]
            assert rest[-1] == "data: [DONE]"
            assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
            assert await asyncio.wait_for(process.wait(), WAIT) == 0


async def heard(controller: Controller, state: State) -> list[Hello | Status]:
    """Everything that the controller hears up to a state."""
    found: list[Hello | Status] = []
    while not found or getattr(found[-1], "state", None) != state:
        found.append(await controller.next())
    return found


async def test_registers_while_it_loads() -> None:
    """A worker is known from its first moment, and tells what it learned when its model is there."""
    controller = Controller()
    port = free_port()
    async with await controller.start() as server:
        flags = ("--port", str(port), "--model-names", "a,b", "--load-seconds", "0.3", "--speed", "2")
        async with worker(*flags, "--controller-address", f"http://127.0.0.1:{port_of(server)}") as process:
            loading = await heard(controller, State.LOADING)
            ready = await heard(controller, State.READY)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), WAIT) == 0
    first, later = loading[0], next(message for message in ready if isinstance(message, Hello))
    assert isinstance(first, Hello)
    assert (first.address, first.engine, first.speed) == (f"http://127.0.0.1:{port}", "fake", 2.0)
    assert [model.name for model in first.models] == ["a", "b"]
    assert [model.context_length for model in later.models] == [4096, 4096]


async def test_generations_that_take_too_long_are_ended() -> None:
    """After --drain-timeout what still runs is ended with an error event, and the process ends."""
    port = free_port()
    flags = ("--port", str(port), "--model-names", "m", "--tokens-per-second", "20", "--drain-timeout", "0.2")
    async with worker(*flags, "--no-register") as process:
        await line_with(process, "ready: m")
        async with (
            httpx.AsyncClient(timeout=WAIT) as client,
            client.stream(
                "POST", f"http://127.0.0.1:{port}/v1/chat/completions", json=chat(stream=True, ignore_eos=True)
            ) as stream,
        ):
            lines = stream.aiter_lines()
            await anext(lines)
            process.send_signal(signal.SIGTERM)
            rest = [line async for line in lines if line]
        assert "error" in json.loads(rest[-2].removeprefix("data: "))
        assert await asyncio.wait_for(process.wait(), WAIT) == 0


async def test_a_model_that_does_not_load_ends_the_process() -> None:
    """Where the model cannot be loaded this time, one line says why, and the exit code has it tried again."""
    async with worker("--port", "0", "--no-register", "--fail-load") as process:
        _, log = await asyncio.wait_for(process.communicate(), WAIT)
        assert process.returncode == 1
        assert log.decode().count("cannot load the model: the fake engine was told to fail") == 1
        assert "Traceback" not in log.decode()


async def test_settings_that_cannot_be_honoured_end_the_process() -> None:
    """A wrong setting is one sentence, and exit code 2."""
    async with worker("--host", "0.0.0.0", "--no-register") as process:
        _, log = await asyncio.wait_for(process.communicate(), WAIT)
        assert process.returncode == 2
        assert "BATON_CLUSTER_TOKEN" in log.decode()


async def test_an_unknown_engine_shows_the_engines() -> None:
    """Without an engine, or with one that is not there, the engines are listed."""
    for arguments in ((), ("nope",)):
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "workers", *arguments, stderr=PIPE)
        _, shown = await asyncio.wait_for(process.communicate(), WAIT)
        assert process.returncode == 2
        assert "fake" in shown.decode()
        assert "--help" in shown.decode()
