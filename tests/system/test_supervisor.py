"""A copy of the checkout under supervisord, driven by `baton` as a person would."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from baton.supervision import LONGEST_SOCKET_PATH, Program, Supervision, SupervisionError
from tests.conftest import DEMO
from tests.processes import CHAT, ROOT, TAIL, Decoded, chat, clean_environment, free_port, until

PATIENCE = 300  # seconds; the bound of a command that starts everything
PROGRAMS = ["api-server", "controller", "worker-demo"]

pytestmark = pytest.mark.timeout(3 * PATIENCE)


@dataclass(frozen=True)
class Checkout:
    """A copy of the checkout, with ports of its own."""

    root: Path
    env: Mapping[str, str]
    api: str

    def baton(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the console command."""
        return self.run(".venv/bin/baton", *arguments)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.root, env=self.env, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    @property
    def supervision(self) -> Supervision:
        return Supervision(self.root)

    def program(self, name: str) -> Program:
        return next(program for program in self.supervision.programs() if program.name == name)

    def pids(self) -> list[int]:
        """supervisord's and its programs'."""
        own = int((self.root / "run" / "supervisord.pid").read_text())
        return [own, *(program.pid for program in self.supervision.programs() if program.pid)]

    def answers(self, model: str = DEMO) -> bool:
        """Whether a chat request succeeds now."""
        try:
            reply = httpx.post(self.api + CHAT, json=chat("你好", model=model), timeout=PATIENCE, trust_env=False)
        except httpx.TransportError:
            return False
        return reply.status_code == 200

    def add_program(self, name: str, command: str) -> None:
        """Write a file into conf.d."""
        text = (self.conf_d / "worker-demo.conf").read_text()
        kept = [line for line in text.splitlines() if not line.startswith(("[", "command=", ";"))]
        head = [f"[program:{name}]", f"command=%(here)s/../../.venv/bin/python -m {command}"]
        text = "\n".join((*head, *kept)).replace("worker-demo.log", f"{name}.log")
        (self.conf_d / f"{name}.conf").write_text(text + "\n")

    @property
    def conf_d(self) -> Path:
        return self.root / "supervisor" / "conf.d"

    def logs(self) -> str:
        """The ends of all logs."""
        files = sorted((self.root / "logs").glob("*.log"))
        return "\n".join(f"--- {file.name} ---\n" + "\n".join(lines_of(file)[-TAIL:]) for file in files)


@pytest.fixture
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A copy of the checkout; nothing of it runs afterwards."""
    root = tmp_path_factory.mktemp("b")
    if len(os.fsencode(root / "run" / "supervisor.sock")) > LONGEST_SOCKET_PATH:
        pytest.skip(f"{root} is too long for a Unix socket")
    copy_checkout(root)
    controller, api, worker = (str(free_port()) for _ in range(3))
    address = f"http://127.0.0.1:{controller}"
    env = {
        **clean_environment(),
        "BATON_CONTROLLER_PORT": controller,
        "BATON_API_SERVER_PORT": api,
        "BATON_WORKERS_HF_PORT": worker,
        "BATON_API_SERVER_CONTROLLER_ADDRESS": address,
        "BATON_WORKERS_HF_CONTROLLER_ADDRESS": address,
        "BATON_WORKERS_FAKE_CONTROLLER_ADDRESS": address,
    }
    made = Checkout(root, env, f"http://127.0.0.1:{api}")
    try:
        yield made
    finally:
        print(made.logs())
        end(made)


def copy_checkout(root: Path) -> None:
    """What git would put into a clone, and what is new; the virtual environment by a link."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    for name in filter(None, os.fsdecode(listed).split("\0")):
        if (ROOT / name).is_file():  # not one that is deleted and not committed yet
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    (root / ".venv").symlink_to(Path(sys.executable).parent.parent)


def end(checkout: Checkout) -> None:
    """Kill what a failed test has left."""
    try:
        pids = checkout.pids()
    except (SupervisionError, OSError):
        return
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_day_under_supervision(checkout: Checkout) -> None:
    """`up` answers, `status` and `chat` work, killed processes come back, models can be added, `down` leaves none."""
    up = checkout.baton("up", "--ask", "What is Baton?")
    assert up.returncode == 0, up.stderr
    question, _, answer = up.stdout.partition("> What is Baton?\n")
    assert "ready after" in question
    assert "Baton" in answer.splitlines()[0]
    assert checkout.api in answer  # what to try next

    pids = checkout.pids()
    again = checkout.baton("up")
    assert again.returncode == 0, again.stderr
    assert checkout.pids() == pids  # nothing was started twice

    status = checkout.baton("status")
    assert status.returncode == 0, status.stderr
    assert [line.split()[:2] for line in status.stdout.splitlines()[:3]] == [[name, "RUNNING"] for name in PROGRAMS]
    assert f"models: {DEMO}" in status.stdout

    said = checkout.baton("chat", "你好")
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip()

    for name in PROGRAMS:
        comes_back(checkout, name)
    a_model_is_added(checkout)
    down_leaves_nothing(checkout)
    broken_programs_are_told_of(checkout)


def comes_back(checkout: Checkout, name: str) -> None:
    """A killed program is started again by supervisord, and requests succeed again."""
    before = checkout.program(name).pid
    os.kill(before, signal.SIGKILL)
    until(lambda: checkout.program(name).pid not in (0, before), f"{name} has a new process", PATIENCE)
    until(checkout.answers, f"requests succeed after {name} was killed", PATIENCE)
    until(lambda: checkout.program(name).state == "RUNNING", f"{name} runs", PATIENCE)


def a_model_is_added(checkout: Checkout) -> None:
    """A file in conf.d and `supervisorctl update` bring a second model, and leave the first one's process alone."""
    pids = checkout.pids()
    checkout.add_program("worker-second", f"workers fake --model-names second --port {free_port()}")
    update = checkout.run(".venv/bin/supervisorctl", "-c", "supervisor/supervisord.conf", "update")
    assert update.returncode == 0, update.stdout + update.stderr
    until(lambda: models(checkout) == [DEMO, "second"], "the second model is listed")
    until(lambda: checkout.answers("second"), "the second model answers")
    assert set(pids) < set(checkout.pids())


def down_leaves_nothing(checkout: Checkout) -> None:
    """`down` ends supervisord and every program; a second `down` and `status` say that nothing runs."""
    pids = checkout.pids()
    assert len(pids) == 5
    down = checkout.baton("down")
    assert down.returncode == 0, down.stderr
    assert [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists() and cmdline(pid)] == []
    assert "nothing was running" in checkout.baton("down").stdout
    status = checkout.baton("status")
    assert status.returncode == 1
    assert "baton up" in status.stderr


def broken_programs_are_told_of(checkout: Checkout) -> None:
    """When a worker cannot start, `up` fails with the end of its log, even if another one answers already."""
    checkout.add_program("worker-demo", "workers fake --never-heard-of")
    up = checkout.baton("up")
    assert up.returncode == 1, up.stdout
    assert "worker-demo does not start" in up.stderr
    assert "unrecognized arguments: --never-heard-of" in up.stderr
    assert checkout.baton("down").returncode == 0


def models(checkout: Checkout) -> list[str]:
    reply: Decoded = httpx.get(f"{checkout.api}/v1/models", trust_env=False).json()
    return [card["id"] for card in reply["data"]]


def cmdline(pid: int) -> str:
    """The command of a process; empty when it is dead and only its parent has not noticed yet."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def lines_of(file: Path) -> list[str]:
    return file.read_text(errors="replace").splitlines()
