"""The README's examples run as they stand, and its commands name things that exist."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from api_server.settings import ApiServerSettings
from baton.settings import options
from controller.settings import ControllerSettings
from tests.processes import ROOT, WAIT, Fleet
from workers.engines.table import ENGINES

README = ROOT / "README.md"
ADDRESS = "localhost:8000"
SETTINGS: dict[str, type] = {
    "controller": ControllerSettings,
    "api_server": ApiServerSettings,
    **{f"workers {name}": entry.settings for name, entry in ENGINES.items()},
}
MADE = (".venv/", "logs/", "run/")  # folders that setting up makes


def blocks(language: str) -> list[str]:
    """The fenced blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The shell commands, with continued lines joined."""
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [line.strip().removeprefix("$ ") for line in lines if line.strip() and not line.strip().startswith("#")]


def is_request(command: str) -> bool:
    return command.startswith("curl") and ADDRESS in command


@pytest.mark.parametrize("command", [each for each in commands() if is_request(each)])
def test_requests_by_curl(command: str, demo_fleet: Fleet) -> None:
    """Every curl command against the API server prints an answer without an error."""
    there = command.replace(ADDRESS, f"127.0.0.1:{demo_fleet.api.port}")
    done = subprocess.run(["bash", "-c", there], capture_output=True, text=True, timeout=WAIT, check=True)
    answers = [json.loads(line.removeprefix("data: ")) for line in done.stdout.splitlines() if answer_in(line)]
    assert answers
    assert not any("error" in answer for answer in answers)


def answer_in(line: str) -> bool:
    return bool(line) and line != "data: [DONE]"


@pytest.mark.parametrize("program", [each for each in blocks("python") if f"http://{ADDRESS}/v1" in each])
def test_programs(program: str, demo_fleet: Fleet) -> None:
    """Every Python block that talks to the API server runs and prints something."""
    there = program.replace(ADDRESS, f"127.0.0.1:{demo_fleet.api.port}")
    done = subprocess.run([sys.executable, "-c", there], capture_output=True, text=True, timeout=WAIT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_there_are_examples_to_run() -> None:
    """The README shows a request by curl and one in Python, so that the tests above are not empty."""
    assert any(map(is_request, commands()))
    assert any(f"http://{ADDRESS}/v1" in block for block in blocks("python"))


@pytest.mark.parametrize("command", [each for each in commands() if not is_request(each)])
def test_commands_name_what_exists(command: str) -> None:
    """Files, make targets, subcommands, settings and environment variables in a command all exist."""
    words = shlex.split(command, comments=True)
    assert list(missing(words)) == []


def missing(words: list[str]) -> Iterator[str]:
    """What a command names and nobody knows."""
    yield from missing_variables(words)
    while words and (words[0] == "export" or re.match(r"[A-Z_]+=", words[0])):
        words = words[1:]
    if not words:
        return
    program, arguments = words[0].rpartition("/")[2], words[1:]
    if program == "make":
        yield from missing_targets(arguments)
    elif program in ("python", "python3") and arguments[:1] == ["-m"]:
        yield from missing_settings(arguments[1:])
    elif program == "baton":
        yield from missing_in_baton(arguments)
    yield from missing_files(words)


def missing_variables(words: list[str]) -> Iterator[str]:
    known = {option.env for process, cls in SETTINGS.items() for option in options(cls, process)} | {"BATON_API_KEY"}
    for name in re.findall(r"\bBATON_\w+", " ".join(words)):
        if name not in known:
            yield name


def missing_targets(arguments: list[str]) -> Iterator[str]:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for word in arguments:
        if word not in targets and "=" not in word:
            yield f"make {word}"


def missing_settings(arguments: list[str]) -> Iterator[str]:
    """For `python -m …`, where that is one of ours."""
    module = arguments[0]
    process = " ".join(arguments[:2]) if module == "workers" else module
    if process in SETTINGS:
        known = {flag for option in options(SETTINGS[process], process) for flag in option.flags} | {"--help"}
        for word in arguments:
            flag = word.partition("=")[0]
            if flag.startswith("--") and flag not in known:
                yield f"{process} {flag}"
    elif module == "workers":
        yield process
    elif (ROOT / module.partition(".")[0]).is_dir() and not module_exists(module):
        yield module


def module_exists(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").exists() or (path / "__main__.py").exists()


def missing_in_baton(arguments: list[str]) -> Iterator[str]:
    """For the console command: its help knows the subcommand and the flags."""
    if arguments[:1] == ["worker"]:
        yield from missing_settings(["workers", *arguments[1:]])
        return
    call = [sys.executable, "-c", "from baton.cli import main; main()", *arguments[:1], "--help"]
    done = subprocess.run(call, capture_output=True, text=True, cwd=ROOT, timeout=WAIT, check=False)
    if done.returncode != 0:
        yield f"baton {arguments[:1]}"
    for flag in (word for word in arguments if word.startswith("--")):
        if flag not in done.stdout:
            yield f"baton {arguments[0]} {flag}"


def missing_files(words: list[str]) -> Iterator[str]:
    """Paths that begin with a folder of the checkout; the last word of `cp` and `mv` is made by them."""
    named = words[:-1] if words[0] in ("cp", "mv") else words
    for word in named:
        first, slash, _ = word.partition("/")
        if slash and (ROOT / first).is_dir() and not word.startswith(MADE) and not (ROOT / word).exists():
            yield word
