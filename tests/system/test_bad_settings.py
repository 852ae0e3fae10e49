"""Settings that cannot be honoured, and models that cannot be loaded: an exit code and one clear sentence."""

from pathlib import Path

import pytest

from tests.processes import Processes

BAD_SETTINGS, CANNOT_LOAD = 2, 3  # supervisor/conf.d names both: starting again would not help

WRONG = [
    ("workers fake", ("--limit-worker-concurrency", "0"), "--limit-worker-concurrency"),
    ("workers fake", ("--tokens-per-second", "fast"), "--tokens-per-second"),
    ("workers fake", ("--never-heard-of",), "--never-heard-of"),
    ("workers fake", ("--fail-rate", "2"), "--fail-rate"),
    ("workers hf", (), "--model-path"),
    ("workers hf", ("--model-path", "x", "--dtype", "float7"), "--dtype"),
    ("workers magic", (), "magic"),
    ("controller", ("--dispatch-method", "by-hand"), "--dispatch-method"),
    ("api_server", ("--cluster-token-file", "/nowhere"), "/nowhere"),
]


@pytest.mark.parametrize(("what", "flags", "named"), WRONG)
def test_a_bad_setting_ends_the_process(processes: Processes, what: str, flags: tuple[str, ...], named: str) -> None:
    """The exit code is 2, and the last words name the setting."""
    process = processes.make(what, *flags).start()
    assert process.wait() == BAD_SETTINGS
    assert named in process.log
    assert "Traceback" not in process.log


def test_an_address_in_use_is_a_bad_setting(processes: Processes) -> None:
    """A port that another process holds is named, with a remedy, and the exit code is 2."""
    first = processes.make("controller").serve()
    second = processes.make("api_server", port=first.port).start()
    assert second.wait() == BAD_SETTINGS
    assert f"cannot listen on 127.0.0.1:{first.port}" in second.log


@pytest.mark.parametrize(
    ("what", "flags", "said"),
    [
        ("workers hf", ("--model-path", "{missing}"), "there is no folder {missing}"),
    ],
)
def test_a_model_that_cannot_be_loaded_ends_the_worker(
    processes: Processes, tmp_path: Path, what: str, flags: tuple[str, ...], said: str
) -> None:
    """The exit code is 3, and one sentence says which model and why; no stack trace."""
    missing = str(tmp_path / "missing")
    process = processes.make(what, "--no-register", *(flag.format(missing=missing) for flag in flags)).start()
    assert process.wait() == CANNOT_LOAD
    assert said.format(missing=missing) in process.log
    assert process.log.count(" ERROR ") == 1
    assert "Traceback" not in process.log
