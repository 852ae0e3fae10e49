"""Real processes of Baton on free ports: started, watched, killed, and always cleaned up.

Nothing here sleeps to be right: every wait polls a condition, has a bound, and shows the log when the bound is passed.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar

import httpx

Decoded: TypeAlias = Any  # JSON from outside, of a shape that the test checks
T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
WAIT = 60.0  # seconds; the bound of every wait, far above what any of them takes
TICK = 0.02  # seconds between two looks
TAIL = 40  # lines of a log that are shown
MODEL = "m"  # what every fake worker of a fleet serves, besides a model with its own name
CHAT = "/v1/chat/completions"

# Below the ports that the kernel gives to outgoing connections, so that a port stays free while its process is dead.
PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A port that nobody listens on."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def until(probe: Callable[[], T], what: str, within: float = WAIT) -> T:
    """Poll until `probe` gives something true, and return that."""
    deadline = time.monotonic() + within
    while not (found := probe()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(TICK)
    return found


def clean_environment() -> dict[str, str]:
    """This process's environment without any setting of Baton's."""
    ours = ("BATON_", "FASTCHAT_", "SSL_KEYFILE", "SSL_CERTFILE")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


class Process:
    """One process of Baton, from `python -m …`. It may be killed and started again, on the same port."""

    def __init__(self, what: str, flags: tuple[str, ...], port: int, env: Mapping[str, str], log: Path) -> None:
        self.what = what
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._command = [sys.executable, "-m", *what.split(), "--port", str(port), *flags]
        self._env = {**clean_environment(), "PYTHONUNBUFFERED": "1", **env}
        self._log = log
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    @property
    def log(self) -> str:
        """All that it said, over all its lives."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> Self:
        """Start it and return at once."""
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._command, cwd=ROOT, env=self._env, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def serve(self) -> Self:
        """Start it and wait until it answers."""
        self.start()
        return self.until_it_answers("/health")

    def until_it_answers(self, path: str, status: int = 200) -> Self:
        """Wait for a route to answer with `status`. Fails at once when the process ends."""

        def answers() -> bool:
            assert self.alive, f"{self.what} ended with code {self.wait()}\n{self.tail()}"
            try:
                return httpx.get(self.url + path, timeout=WAIT, trust_env=False).status_code == status
            except httpx.TransportError:
                return False

        with self.log_shown():
            until(answers, f"{self.what} answers {path} with {status}")
        return self

    def until_it_says(self, words: str) -> None:
        """Wait until its log holds these words."""
        with self.log_shown():
            until(lambda: words in self.log, f"{self.what} says {words!r}")

    @property
    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def kill(self) -> None:
        """SIGKILL to it and to all that it started; returns when it is dead."""
        self._signal(signal.SIGKILL)
        self.wait()

    def terminate(self) -> None:
        """SIGTERM; returns at once."""
        assert self._popen is not None
        self._popen.terminate()

    def wait(self) -> int:
        """Wait for its end; the exit code."""
        assert self._popen is not None
        with self.log_shown():
            try:
                return self._popen.wait(WAIT)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"{self.what} did not end within {WAIT:g} s") from None

    def tail(self) -> str:
        """The end of its log, with a headline."""
        return "\n".join((f"--- {self._log.name}: {self.what} ---", *self.log.splitlines()[-TAIL:]))

    @contextmanager
    def log_shown(self) -> Iterator[None]:
        """Adds the end of the log to a failure inside."""
        try:
            yield
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def cleanup(self) -> None:
        """Nothing of it is left afterwards."""
        if self._popen is not None:
            self._signal(signal.SIGKILL)
            self._popen.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:  # the number of a dead one may be somebody else's by now
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)


class Processes(AbstractContextManager["Processes"]):
    """All processes of a test. At its end they are dead, and the ends of their logs are in its output."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._all: list[Process] = []

    def make(self, what: str, *flags: str, port: int = 0, env: Mapping[str, str] | None = None) -> Process:
        """A process that is not started yet; `what` is what follows `python -m`."""
        log = self.folder / f"{len(self._all)}-{what.replace(' ', '-')}.log"
        made = Process(what, flags, port or free_port(), env or {}, log)
        self._all.append(made)
        return made

    def __exit__(self, *_: object) -> None:
        for process in self._all:
            process.cleanup()
        for process in self._all:
            print(process.tail())


@dataclass
class Fleet(AbstractContextManager["Fleet"]):
    """A controller, an API server, and the workers that a test adds; talked to as a client would."""

    processes: Processes
    controller: Process
    api: Process
    env: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.http = self.client(self.api)

    def client(self, server: Process) -> httpx.Client:
        """A client for one process of the fleet."""
        return httpx.Client(base_url=server.url, headers=dict(self.headers), timeout=WAIT, trust_env=False)

    def make_worker(self, name: str, *flags: str, env: Mapping[str, str] | None = None) -> Process:
        """A fake worker, not started, that serves the models `m` and its own name."""
        to = ("--controller-address", self.controller.url, "--model-names", f"{MODEL},{name}")
        return self.processes.make("workers fake", *to, *flags, env={**self.env, **(env or {})})

    def worker(self, name: str, *flags: str) -> Process:
        """A fake worker that gets work."""
        made = self.make_worker(name, *flags).serve()
        self.until_served(name)
        return made

    def until_served(self, model: str) -> None:
        """Wait until requests for a model succeed."""
        until(lambda: self.ask("probe", model=model, max_tokens=1).status_code == 200, f"{model} is served")

    def ask(self, content: str, model: str = MODEL, **fields: object) -> httpx.Response:
        """One chat request."""
        return self.http.post(CHAT, json=chat(content, model=model, **fields))

    def stream(self, content: str, model: str = MODEL, **fields: object) -> AbstractContextManager[httpx.Response]:
        """One chat stream."""
        return self.http.stream("POST", CHAT, json=chat(content, model=model, stream=True, **fields))

    def picture(self) -> Decoded:
        """`GET /fleet` of the controller."""
        with self.client(self.controller) as http:
            reply = http.get("/fleet")
        assert reply.status_code == 200, reply.text
        return reply.json()

    def counts(self) -> list[tuple[int, int, int]]:
        """In flight, running and waiting of each worker."""
        return [(each["in_flight"], each["running"], each["waiting"]) for each in self.picture()["workers"]]

    def until_idle(self) -> None:
        """Wait until nothing is in flight, runs or waits on any worker."""
        until(lambda: all(count == (0, 0, 0) for count in self.counts()), "every worker's counts are 0 again")

    def __exit__(self, *_: object) -> None:
        self.http.close()


def start_fleet(processes: Processes, *api_flags: str, env: Mapping[str, str] | None = None) -> Fleet:
    """A fleet without workers."""
    controller = processes.make("controller", env=env).start()
    api = start_api_server(processes, controller, *api_flags, env=env)
    controller.until_it_answers("/health")
    api.until_it_answers("/health")
    return Fleet(processes, controller, api, env or {})


def start_api_server(
    processes: Processes, controller: Process, *flags: str, env: Mapping[str, str] | None = None
) -> Process:
    """An API server; returns at once."""
    return processes.make("api_server", "--controller-address", controller.url, *flags, env=env).start()


def chat(content: str, model: str = MODEL, **fields: object) -> dict[str, object]:
    """The body of a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": content}], **fields}


def text_of(reply: httpx.Response) -> str:
    """The text of a whole answer."""
    assert reply.status_code == 200, reply.text
    content = reply.json()["choices"][0]["message"]["content"]
    assert isinstance(content, str)
    return content


def events(reply: httpx.Response) -> Iterator[Decoded]:
    """The events of a stream as they come; checks that it holds `data:` lines only, and ends with [DONE]."""
    assert reply.status_code == 200, reply.read()
    done = False
    for line in reply.iter_lines():
        if not line:
            continue
        assert line.startswith("data: "), line
        assert not done, f"after [DONE]: {line}"
        done = line == "data: [DONE]"
        if not done:
            yield json.loads(line.removeprefix("data: "))
    assert done, "the stream ended without [DONE]"


def piece(event: Decoded) -> str:
    """The text in one event of a chat stream."""
    assert "error" not in event, event
    return "".join(choice["delta"].get("content") or "" for choice in event["choices"])
