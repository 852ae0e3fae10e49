"""The outermost shell of a process: exit codes, and one line for what its user did wrong."""

import resource

import pytest

from baton.process import BAD_SETTINGS, main
from baton.settings import ServeSettings, SettingsError


async def fine(settings: ServeSettings) -> int:
    assert settings.port == 7
    return 0


async def wrong(_: ServeSettings) -> int:
    raise SettingsError("set X to Y")


def test_a_good_run_is_0() -> None:
    """A process that ended in good order says so, and may open as many sockets as the machine allows."""
    assert main("sample", ServeSettings, fine, ["--port", "7"], {}) == 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard


def test_a_settings_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A setting that cannot be honoured ends in one line without a stack, and an exit code of its own."""
    assert main("sample", ServeSettings, wrong, [], {}) == BAD_SETTINGS
    assert capsys.readouterr().err == "sample: set X to Y\n"
    assert main("sample", ServeSettings, fine, [], {"BATON_SAMPLE_PORT": "x"}) == BAD_SETTINGS
    assert "BATON_SAMPLE_PORT" in capsys.readouterr().err


def test_bugs_are_not_hidden() -> None:
    """What is no settings error keeps its stack."""

    async def bug(_: ServeSettings) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main("sample", ServeSettings, bug, [], {})
