"""Running an app: the socket, signals, drain."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from baton.background import FAILED
from baton.serve import listen, serve, url_of
from baton.settings import ServeSettings, SettingsError
from tests.baton.running import free_port

ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from baton.process import main
from baton.serve import listen, serve
from baton.settings import ServeSettings

gate = Path(sys.argv.pop(1))

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"first,", "more_body": True})
    while scope["path"] == "/slow" and not gate.exists():
        await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": b"last"})

async def drain():
    print("draining", flush=True)
    if "FAILING_DRAIN" in os.environ:
        raise ValueError("a bug")

async def run(settings):
    listener = listen(settings)
    print(listener.getsockname()[1], flush=True)
    return await serve(app, listener, settings, drain)

sys.exit(main("sample", ServeSettings, run, sys.argv[1:], os.environ))
"""


@asynccontextmanager
async def program(gate: Path, *flags: str, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(gate), *flags, cwd=ROOT, stdout=-1, stderr=-1, env={**os.environ, **environ}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()


async def test_open_requests_finish_after_sigterm(tmp_path: Path) -> None:
    """SIGTERM: drain, no new connections, the open stream ends whole, exit code 0."""
    async with program(tmp_path / "gate") as process:
        port = int(await line(process))
        await accepted(port)
        async with httpx.AsyncClient() as client, client.stream("GET", f"http://127.0.0.1:{port}/slow") as reply:
            parts = reply.aiter_raw()
            assert await anext(parts) == b"first,"
            process.send_signal(signal.SIGTERM)
            assert await line(process) == "draining"
            await refused(port)
            (tmp_path / "gate").touch()
            assert b"".join([part async for part in parts]) == b"last"
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Who presses Ctrl-C twice does not wait for open requests."""
    async with program(tmp_path / "gate") as process:
        port = int(await line(process))
        await accepted(port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"first,"), 5)
        process.send_signal(signal.SIGINT)
        assert await line(process) == "draining"
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), 10)
        writer.close()


async def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    """A port that another process holds ends with one line and the exit code for bad settings."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        async with program(tmp_path / "gate", "--port", str(port)) as process:
            _, err = await asyncio.wait_for(process.communicate(), 20)
            assert process.returncode == 2
    assert err.decode().count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{port}" in err.decode()


FAILS = """
import os, sys
from baton.process import main
from baton.serve import listen, serve
from baton.settings import ServeSettings

async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no model"})

async def run(settings):
    return await serve(app, listen(settings), settings)

sys.exit(main("sample", ServeSettings, run, [], os.environ))
"""


async def test_an_app_that_does_not_start_is_a_failure() -> None:
    """A process whose app fails at its start does not end as if all were well: who watches it starts it again."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", FAILS, cwd=ROOT, stderr=-1)
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode not in (0, 2, None)
    assert b"no model" in err


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def accepted(port: int) -> None:
    """Return once somebody listens."""
    for _ in range(1000):
        if await listens(port):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody listens")


async def refused(port: int) -> None:
    """Return once nobody listens any more."""
    for _ in range(1000):
        if not await listens(port):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("still listening")


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 99_999), ("127.0.0.1", -1), ("a..b", 0), ("no.invalid", 0)])
def test_an_address_that_cannot_be_had_is_a_sentence(host: str, port: int) -> None:
    """Ports out of range and hosts that are not ours are settings errors."""
    with pytest.raises(SettingsError, match="--port or --host"):
        listen(ServeSettings(host=host, port=port))


async def test_losing_a_race_for_a_port_is_a_sentence() -> None:
    """Two processes may bind the same port before either listens: the second one says so too."""
    settings = ServeSettings(port=free_port())
    with listen(settings) as first, listen(settings) as second:
        first.listen()

        async def app(*_: object) -> None:
            raise AssertionError("never served")

        with pytest.raises(SettingsError, match="cannot listen"):
            await serve(app, second, settings)


async def test_tls_without_files_is_a_sentence() -> None:
    """`--ssl` needs both files."""

    async def app(*_: object) -> None:
        raise AssertionError("never served")

    settings = ServeSettings(ssl=True)
    with listen(settings) as listener, pytest.raises(SettingsError, match="SSL_KEYFILE"):
        await serve(app, listener, settings)


def test_url_of_a_listener() -> None:
    """A free port shows in the URL, and IPv6 addresses have brackets."""
    with listen(ServeSettings()) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener, ServeSettings()) == f"http://127.0.0.1:{port}"
        assert url_of(listener, ServeSettings(host="::1", ssl=True)) == f"https://[::1]:{port}"


async def test_a_failing_drain_does_not_keep_a_process_alive(tmp_path: Path) -> None:
    """A process whose drain has a bug ends all the same, and says that it failed."""
    async with program(tmp_path / "gate", FAILING_DRAIN="1") as process:
        await accepted(int(await line(process)))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 1


async def test_a_failed_part_ends_the_process_as_failed(tmp_path: Path) -> None:
    """What `fail_process` sends makes a process finish, with an exit code that has it started again."""
    async with program(tmp_path / "gate") as process:
        await accepted(int(await line(process)))
        process.send_signal(FAILED)
        assert await line(process) == "draining"
        assert await asyncio.wait_for(process.wait(), 20) == 1
