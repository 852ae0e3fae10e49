"""`baton`: the one command for people. `up` and `down` the processes, see their `status`, `chat`, run a `worker`."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from baton import __version__
from baton.chat import ChatError, Server
from baton.supervision import Program, Supervision, SupervisionError

START_TIMEOUT = 300.0  # seconds until every program must be ready
TICK = 0.25  # seconds between two looks while something starts
LOG_LINES = 5  # of a program that failed

NEXT_STEPS = """
Serving at {url} — try:
  curl {url}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "What is Baton?"}}]}}'
  python -c "from openai import OpenAI; c = OpenAI(base_url='{url}/v1', api_key='none'); \\
    print(c.chat.completions.create(model='{model}', messages=[{{'role': 'user', 'content': '你好'}}])\\
    .choices[0].message.content)"
  {prefix}baton chat      talk to it here
  {prefix}baton status    what runs; logs are in logs/
  make down{pad}        stop everything
"""


def main() -> int:
    """The console command. Returns the exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["worker"]:  # all that follows belongs to the worker
        os.execv(sys.executable, [sys.executable, "-m", "workers", *arguments[1:]])  # noqa: S606
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (SupervisionError, ChatError) as error:
        sys.stderr.write(f"baton: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def up(options: argparse.Namespace) -> int:
    """Start everything, wait until it can answer, ask a question if told to, say what to do next."""
    supervision = Supervision(_root())
    server = _server(options)
    began = time.monotonic()
    if not supervision.start():
        supervision.retry()
    _wait_until_ready(supervision, server, began)
    model = server.models()[0]
    if options.ask:
        sys.stdout.write(f"\n> {options.ask}\n")
        _answer(server, model, [{"role": "user", "content": options.ask}])
    prefix = ".venv/bin/" if Path(".venv/bin/baton").exists() else ""
    sys.stdout.write(NEXT_STEPS.format(url=server.url, model=model, prefix=prefix, pad=" " * (len(prefix) + 5)))
    return 0


def down(_: argparse.Namespace) -> int:
    """Stop everything; open requests finish first."""
    stopped = Supervision(_root()).stop()
    sys.stdout.write("stopped\n" if stopped else "nothing was running\n")
    return 0


def status(options: argparse.Namespace) -> int:
    """What runs, and which models answer."""
    for program in Supervision(_root()).programs():
        sys.stdout.write(f"{program.name:20} {program.state:9} pid {program.pid:<8} {program.since:8.0f} s\n")
    server = _server(options)
    missing = server.ready()
    sys.stdout.write(f"{missing}\n" if missing else f"models: {', '.join(server.models())}\n")
    return 1 if missing else 0


def chat(options: argparse.Namespace) -> int:
    """A conversation on the terminal; with a question given, one answer."""
    server = _server(options)
    model = options.model or next(iter(server.models()), "")
    if not model:
        raise ChatError(f"{server.url} has no model yet; `baton status` says what runs")
    messages: list[dict[str, str]] = []
    questions = [options.question] if options.question else _typed()
    for question in questions:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": _answer(server, model, messages)})
    return 0


def _typed() -> Iterator[str]:
    sys.stdout.write("Type a question; an empty line ends.\n")
    while question := _line():
        yield question


def _line() -> str:
    try:
        return input("> ").strip()
    except EOFError:
        return ""


def _answer(server: Server, model: str, messages: list[dict[str, str]]) -> str:
    pieces = []
    for piece in server.ask(model, messages):
        pieces.append(piece)
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return "".join(pieces)


def _wait_until_ready(supervision: Supervision, server: Server, began: float) -> None:
    """Show one line that says what is still missing. Raises SupervisionError when a program fails."""
    while True:
        programs = supervision.programs()
        for program in programs:
            if program.failed:
                raise SupervisionError(_failure(program))
        missing = server.ready() or _unsettled(programs)
        if not missing:
            break
        states = "  ".join(f"{program.name} {program.state.lower()}" for program in programs)
        _progress(time.monotonic() - began, f"{states}  ({missing.rstrip('.').lower()})")
        if time.monotonic() - began > START_TIMEOUT:
            raise SupervisionError(f"not ready after {START_TIMEOUT:g} s: {missing} See logs/ for the reason.")
        time.sleep(TICK)
    ready = f"ready after {time.monotonic() - began:.1f} s"
    sys.stdout.write(f"\r\x1b[K{ready}\n" if sys.stdout.isatty() else f"{ready}\n")


def _unsettled(programs: list[Program]) -> str:
    """Which programs may still fail though something answers already; empty for none."""
    starting = [program.name for program in programs if not program.settled]
    return f"{', '.join(starting)} still starting" if starting else ""


def _progress(seconds: float, states: str) -> None:
    """One line that is written over on a terminal; elsewhere a line every few seconds."""
    if sys.stdout.isatty():
        width = os.get_terminal_size().columns - 1
        sys.stdout.write(f"\r\x1b[K{f'{seconds:4.0f} s  {states}'[:width]}")
    elif seconds % 5 < TICK:
        sys.stdout.write(f"{seconds:4.0f} s  {states}\n")
    sys.stdout.flush()


def _failure(program: Program) -> str:
    lines = "\n  ".join(program.last_lines(LOG_LINES))
    return f"{program.name} does not start; the end of {program.log}:\n  {lines}"


def _server(options: argparse.Namespace) -> Server:
    return Server(options.api.rstrip("/"), options.key)


def _root() -> Path:
    """The folder with `supervisor/supervisord.conf`: this one, or the checkout that Baton is installed from."""
    for folder in (Path.cwd(), Path(__file__).resolve().parent.parent):
        if (folder / "supervisor" / "supervisord.conf").exists():
            return folder
    raise SupervisionError("no supervisor/supervisord.conf here: run this in a checkout of Baton")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="baton", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    shared = argparse.ArgumentParser(add_help=False)
    port = os.environ.get("BATON_API_SERVER_PORT", "8000")
    shared.add_argument("--api", default=f"http://127.0.0.1:{port}", help="the API server's URL [default: %(default)s]")
    shared.add_argument(
        "--key", default=os.environ.get("BATON_API_KEY", ""), help="API key [environment: BATON_API_KEY]"
    )
    for name, command in (("up", up), ("down", down), ("status", status), ("chat", chat)):
        sub = commands.add_parser(name, help=command.__doc__, parents=[shared])
        sub.set_defaults(command=command)
        if name == "up":
            sub.add_argument("--ask", default="", help="a question to ask once everything is ready")
        if name == "chat":
            sub.add_argument("question", nargs="?", default="", help="ask this and end")
            sub.add_argument("--model", default="", help="which model [default: the first]")
    commands.add_parser("worker", help="Run a worker: baton worker ENGINE …, same as python -m workers ENGINE …")
    return parser
