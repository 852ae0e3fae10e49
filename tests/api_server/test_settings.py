"""The API server's settings."""

import pytest

from api_server.settings import ApiServerSettings, check
from baton.settings import SettingsError


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        (ApiServerSettings(controller_address="localhost:21001"), "--controller-address"),
        (ApiServerSettings(max_attempts=0), "--max-attempts"),
        (ApiServerSettings(max_body_bytes=0), "--max-body-bytes"),
        (ApiServerSettings(connect_timeout=0), "--connect-timeout"),
        (ApiServerSettings(idle_timeout=float("nan")), "--idle-timeout"),
    ],
)
def test_values_that_cannot_be_honoured(settings: ApiServerSettings, flag: str) -> None:
    """A value with which no request could be served is refused at the start, by name."""
    with pytest.raises(SettingsError, match=flag):
        check(settings)
    check(ApiServerSettings())
