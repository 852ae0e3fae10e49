"""The API server's settings."""

from dataclasses import dataclass

from baton.settings import ServeSettings, setting
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
    idle_timeout: float = setting(600.0, "seconds that a worker may be silent in the middle of a request")
    max_body_bytes: int = setting(32 << 20, "largest request body that is taken")
    allowed_origins: tuple[str, ...] = setting((), "browser origins that may call this server (CORS), or *")
