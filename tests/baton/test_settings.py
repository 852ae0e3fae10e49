"""Settings: one declaration gives flags, environment, defaults and help."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from api_server.settings import ApiServerSettings
from baton.settings import (
    ServeSettings,
    SettingsError,
    argument_parser,
    check_url,
    options,
    parse,
    read_secret_file,
    setting,
)
from controller.settings import ControllerSettings


@dataclass(frozen=True, kw_only=True)
class Sample(ServeSettings):
    """A process of the tests."""

    names: tuple[str, ...] = setting((), "some names")
    dry_run: bool = setting(False, "whether to pretend, at 100 %")
    speed: float | None = setting(None, "tokens per second")
    mode: str = setting("slow", "how", choices=("slow", "fast"), flags=("--how",))
    renamed: int = setting(3, "a number", env="OTHER_NAME")
    key: str = setting("", "a secret", secret=True)


def sample(*argv: str, **environ: str) -> Sample:
    return parse(Sample, "sample", argv, environ)


def test_flag_wins_over_environment_wins_over_default() -> None:
    """A flag wins over the environment, the environment over the default."""
    assert sample().port == 0
    assert sample(BATON_SAMPLE_PORT="7").port == 7
    assert sample("--port", "8", BATON_SAMPLE_PORT="7").port == 8


def test_both_spellings_and_further_flags() -> None:
    """Dashes and underscores mean the same flag, and so do further spellings."""
    assert sample("--dry-run").dry_run
    assert sample("--dry_run").dry_run
    assert sample("--how", "fast").mode == "fast"


def test_abbreviated_flags_are_taken() -> None:
    """A flag may be cut to what names it alone, even where it has two spellings."""
    assert sample("--dry").dry_run
    assert sample("--mod", "fast").mode == "fast"


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("true", True), ("Yes", True), ("on", True), ("0", False), ("off", False)]
)
def test_booleans_in_the_environment(text: str, value: bool) -> None:
    """Booleans are read from the usual words."""
    assert sample(BATON_SAMPLE_DRY_RUN=text).dry_run is value


def test_an_empty_boolean_is_false() -> None:
    """A variable that is set to nothing does not switch anything on."""
    assert sample(BATON_SAMPLE_DRY_RUN="").dry_run is False


def test_a_flag_can_switch_off_what_the_environment_switched_on() -> None:
    """Every boolean has a `--no-` flag."""
    assert sample("--no-dry-run", BATON_SAMPLE_DRY_RUN="1").dry_run is False


def test_lists_are_separated_by_commas() -> None:
    """A tuple is read from a list with commas; blanks and empty parts do not count."""
    assert sample("--names", "a, b,,c ").names == ("a", "b", "c")
    assert sample(BATON_SAMPLE_NAMES="").names == ()


def test_an_optional_number() -> None:
    """A setting that may be absent is read as its other type."""
    assert sample().speed is None
    assert sample("--speed", "2.5").speed == 2.5


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BATON_SAMPLE_PORT", "many"),
        ("BATON_SAMPLE_PORT", ""),
        ("BATON_SAMPLE_DRY_RUN", "perhaps"),
        ("BATON_SAMPLE_SPEED", "x"),
        ("BATON_SAMPLE_MODE", "medium"),
        ("OTHER_NAME", "3.5"),
    ],
)
def test_a_bad_variable_is_named(name: str, text: str) -> None:
    """A variable that cannot be read gives a sentence with its name and value."""
    with pytest.raises(SettingsError, match=re.escape(f"{name}={text!r}")):
        sample(**{name: text})


def test_a_bad_flag_ends_with_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """A flag that cannot be read ends the process with exit code 2 and names the flag."""
    for argv in (["--port", "many"], ["--mode", "medium"], ["--unknown"]):
        with pytest.raises(SystemExit, match="2"):
            sample(*argv)
        assert argv[0] in capsys.readouterr().err


def test_secrets_have_no_flag_and_are_not_shown() -> None:
    """A secret comes from the environment only, and is in no repr."""
    settings = sample(BATON_SAMPLE_KEY="hidden", BATON_CLUSTER_TOKEN="hidden")
    assert settings.key == settings.cluster_token == "hidden"
    assert "hidden" not in repr(settings)
    assert "--key" not in argument_parser(Sample, "sample").format_help()


def test_help_shows_default_and_variable() -> None:
    """The help of every flag names its default and its variable, and survives a percent sign."""
    help_text = " ".join(argument_parser(Sample, "sample").format_help().split())
    for option in options(Sample, "sample"):
        assert f"environment: {option.env}]" in help_text or not option.flags
    assert "at 100 %" in help_text
    assert "default: 3" in help_text


@pytest.mark.parametrize(("cls", "process"), [(ControllerSettings, "controller"), (ApiServerSettings, "api_server")])
def test_variables_and_flags_are_unique(cls: type[ServeSettings], process: str) -> None:
    """No two settings of a process share a flag or a variable, and all say what they are about."""
    declared = options(cls, process)
    flags = [flag for option in declared for flag in option.flags]
    assert len(flags) == len(set(flags))
    assert len({option.env for option in declared}) == len(declared)
    assert all(option.about for option in declared)


def test_fastchat_flags_of_the_controller() -> None:
    """The controller takes FastChat's flags, its two policies and its variable."""
    argv = ["--host", "127.0.0.1", "--port", "21005", "--dispatch-method", "shortest_queue", "--ssl"]
    settings = parse(ControllerSettings, "controller", argv, {"FASTCHAT_CONTROLLER_HEART_BEAT_EXPIRATION": "7"})
    assert (settings.port, settings.dispatch_method, settings.ssl) == (21005, "shortest_queue", True)
    assert settings.fastchat_expiration == 7
    assert parse(ControllerSettings, "controller", ["--dispatch", "lottery"], {}).dispatch_method == "lottery"
    assert parse(ControllerSettings, "controller", [], {}).port == 21001


def test_fastchat_flags_of_the_api_server() -> None:
    """The API server takes FastChat's address of the controller and its keys."""
    argv = ["--controller-address", "http://c:1", "--api-keys", "a,b"]
    settings = parse(ApiServerSettings, "api_server", argv, {})
    assert (settings.controller_address, settings.api_keys, settings.port) == ("http://c:1", ("a", "b"), 8000)


def test_a_secret_file_must_be_private(tmp_path: Path) -> None:
    """A secret's file is read only when nobody else can read it; the error says what to do."""
    file = tmp_path / "token"
    file.write_text("secret\n")
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        read_secret_file(str(file))
    file.chmod(0o600)
    assert read_secret_file(str(file)) == "secret"
    with pytest.raises(SettingsError, match="cannot read"):
        read_secret_file(str(tmp_path / "none"))


@pytest.mark.parametrize("text", ["", "localhost:21001", "http://", "http://x:99999", "http://a..b:1", "ftp://a"])
def test_an_address_must_be_a_url(text: str) -> None:
    """An address that no connection could use is refused at the start, by name."""
    with pytest.raises(SettingsError, match="--controller-address"):
        check_url("--controller-address", text)
    check_url("--controller-address", "https://host.example:21001")
