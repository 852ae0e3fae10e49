"""supervisord from outside: start it, ask it, stop it. It listens on a Unix socket only."""

import os
import subprocess
import sys
import time
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from supervisor.xmlrpc import SupervisorTransport

LONGEST_SOCKET_PATH = 107  # bytes; the kernel's bound (unix(7)), less the closing NUL
SETTLED_AFTER = 3.0  # seconds; a process that dislikes its settings says so in less
STOP_TIMEOUT = 90.0  # seconds; programs get up to their stopwaitsecs each, all at the same time


class SupervisionError(Exception):
    """supervisord cannot do what was asked. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised process."""

    name: str
    state: str  # supervisord's word: STARTING, RUNNING, BACKOFF, EXITED, FATAL …
    pid: int
    since: float  # seconds in this state
    log: Path

    @property
    def failed(self) -> bool:
        """Whether supervisord has given up on it."""
        return self.state in ("FATAL", "EXITED")

    @property
    def settled(self) -> bool:
        """Whether it has run long enough for its settings to have been read, or failed."""
        return self.failed or (self.state == "RUNNING" and self.since >= SETTLED_AFTER)

    def last_lines(self, count: int) -> list[str]:
        """The end of its log."""
        try:
            return self.log.read_text(errors="replace").splitlines()[-count:]
        except OSError:
            return []


class Supervision:
    """The supervisord of one checkout, found by the folder that holds `supervisor/supervisord.conf`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._socket = root / "run" / "supervisor.sock"

    @property
    def config(self) -> Path:
        return self._root / "supervisor" / "supervisord.conf"

    def start(self) -> bool:
        """Start supervisord in the background; False where it runs already. Raises SupervisionError."""
        if self.running():
            return False
        if len(os.fsencode(self._socket)) > LONGEST_SOCKET_PATH:
            raise SupervisionError(f"the path {self._socket} is too long for a Unix socket: move this folder higher up")
        for folder in ("run", "logs"):
            (self._root / folder).mkdir(exist_ok=True)
        program = Path(sys.executable).with_name("supervisord")
        done = subprocess.run([program, "-c", self.config], capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            raise SupervisionError(f"supervisord did not start: {(done.stderr or done.stdout).strip()}")
        return True

    def retry(self) -> None:
        """Start the programs again that supervisord has given up on: their cause may have been mended."""
        for program in self.programs():
            if program.failed:
                self._call().supervisor.startProcess(program.name, False)

    def running(self) -> bool:
        """Whether supervisord answers."""
        try:
            self._call().supervisor.getState()
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def programs(self) -> list[Program]:
        """All programs, in the order of their names. Raises SupervisionError where supervisord does not run."""
        try:
            rows = cast(list[dict[str, Any]], self._call().supervisor.getAllProcessInfo())
        except (OSError, xmlrpc.client.Error) as error:
            raise SupervisionError("nothing runs here; start with `baton up`") from error
        return [
            Program(
                row["name"],
                row["statename"],
                row["pid"],
                row["now"] - row["start"],
                Path(row["stdout_logfile"]).resolve(),
            )
            for row in rows
        ]

    def stop(self) -> bool:
        """Stop every program, open requests first; False where nothing runs. Raises SupervisionError."""
        if not self.running():
            return False
        pid = int(self._call().supervisor.getPID())
        self._call().supervisor.shutdown()
        deadline = time.monotonic() + STOP_TIMEOUT
        while _alive(pid):
            if time.monotonic() > deadline:
                raise SupervisionError(f"supervisord (pid {pid}) did not stop within {STOP_TIMEOUT:g} s")
            time.sleep(0.1)
        return True

    def _call(self) -> Any:  # noqa: ANN401 - the shape of XML-RPC is only known to the other side
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """A process that ended and waits for its parent: nothing of it is left to stop."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False
