import pytest

from baton.settings import SettingsError, options, parse
from workers.engines.table import ENGINES
from workers.settings import FakeWorkerSettings, HfWorkerSettings, WorkerSettings, check


def fake(*argv: str, **environ: str) -> FakeWorkerSettings:
    settings = parse(FakeWorkerSettings, "workers fake", argv, environ)
    check(settings)
    return settings


def test_fastchat_spellings() -> None:
    """The flags that FastChat's users know work, abbreviated and underscored too."""
    settings = fake(
        "--no-register", "--worker", "http://a:1", "--controller", "http://b:1,http://c:2", "--model-name", "x,y"
    )
    assert not settings.register
    assert settings.worker_address == "http://a:1"
    assert settings.controller_address == ("http://b:1", "http://c:2")
    assert settings.names() == ("x", "y")
    assert fake("--limit_worker_concurrency", "7").limit_worker_concurrency == 7


def test_defaults() -> None:
    """Port, controller and slots have their usual values."""
    settings = fake()
    assert (settings.port, settings.host) == (21002, "127.0.0.1")
    assert settings.controller_address == ("http://localhost:21001",)
    assert (settings.limit_worker_concurrency, settings.max_waiting) == (32, 256)
    assert settings.names() == ("fake",)


def test_the_environment_counts() -> None:
    """Every setting can come from the environment."""
    assert fake(BATON_WORKERS_FAKE_REPLY_TOKENS="3").reply_tokens == 3
    assert not fake(BATON_WORKERS_FAKE_REGISTER="0").register


def test_the_name_of_a_model_is_the_end_of_its_path() -> None:
    """A model without names is called by the last part of its path."""
    assert HfWorkerSettings(model_path="/models/tiny/").names() == ("tiny",)
    assert HfWorkerSettings(model_path="org/tiny").names() == ("tiny",)
    assert FakeWorkerSettings(model_path="org/tiny").names() == ("tiny",)


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        (HfWorkerSettings(), "--model-path"),
        (FakeWorkerSettings(limit_worker_concurrency=0), "--limit-worker-concurrency"),
        (FakeWorkerSettings(max_waiting=-1), "--max-waiting"),
        (FakeWorkerSettings(speed=0), "--speed"),
        (FakeWorkerSettings(speed=float("nan")), "--speed"),
        (FakeWorkerSettings(drain_timeout=-1), "--drain-timeout"),
        (FakeWorkerSettings(max_body_bytes=0), "--max-body-bytes"),
        (FakeWorkerSettings(model_names=("x" * 257,)), "--model-names"),
        (FakeWorkerSettings(controller_address=("localhost:21001",)), "--controller-address"),
        (FakeWorkerSettings(controller_address=()), "--controller-address"),
        (FakeWorkerSettings(context_length=1), "--context-length"),
        (FakeWorkerSettings(reply_tokens=0), "--reply-tokens"),
        (FakeWorkerSettings(fail_rate=2), "--fail-rate"),
        (FakeWorkerSettings(tokens_per_second=-1), "--tokens-per-second"),
    ],
)
def test_useless_values_are_refused(settings: WorkerSettings, flag: str) -> None:
    """A value that cannot be honoured is refused in a sentence that names its flag."""
    with pytest.raises(SettingsError, match=flag):
        check(settings)


@pytest.mark.parametrize("name", ENGINES)
def test_every_setting_says_what_it_is(name: str) -> None:
    """Every setting of every engine has a text for its help."""
    assert all(len(option.about) > 10 for option in options(ENGINES[name].settings, f"workers {name}"))
