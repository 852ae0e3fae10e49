"""The API server's settings."""

from dataclasses import dataclass

from baton.settings import ServeSettings, SettingsError, check_url, setting
from controller.dispatch import POLICIES


@dataclass(frozen=True, kw_only=True)
class ApiServerSettings(ServeSettings):
    """The API server: one OpenAI-compatible address in front of all workers."""

    port: int = setting(8000, "port to listen on; 0 takes a free one")
    controller_address: str = setting("http://localhost:21001", "URL of the controller")
    api_keys: tuple[str, ...] = setting(
        (), "keys that clients must send, separated by commas (better in the environment: others can read your flags)"
    )
    dispatch_method: str = setting("least_load", "how a worker is chosen for a request", choices=tuple(POLICIES))
    max_attempts: int = setting(3, "workers to try for one request before the first byte of an answer")
    connect_timeout: float = setting(2.0, "seconds that a worker has to accept a connection")
    idle_timeout: float = setting(600.0, "seconds that a worker may be silent; a whole answer comes after one silence")
    max_body_bytes: int = setting(32 << 20, "largest request body that is taken")
    allowed_origins: tuple[str, ...] = setting((), "browser origins that may call this server (CORS), or *")


def check(settings: ApiServerSettings) -> None:
    """Raises SettingsError for the first value that cannot be honoured."""
    check_url("--controller-address", settings.controller_address)
    if settings.max_attempts < 1 or settings.max_body_bytes < 1:
        raise SettingsError("--max-attempts and --max-body-bytes must be 1 or more")
    if not (settings.connect_timeout > 0 and settings.idle_timeout > 0):
        raise SettingsError("--connect-timeout and --idle-timeout must be above 0")
