"""The controller's settings."""

from dataclasses import dataclass

from baton.settings import ServeSettings, setting
from controller.dispatch import POLICIES

DISPATCH_METHODS = tuple(POLICIES)


@dataclass(frozen=True, kw_only=True)
class ControllerSettings(ServeSettings):
    """The controller: registry of workers, heartbeats, dispatch."""

    port: int = setting(21001, "port to listen on; 0 takes a free one")
    dispatch_method: str = setting("least_load", "how a worker is chosen for a request", choices=DISPATCH_METHODS)
    fastchat_expiration: float = setting(
        90.0,
        "seconds without a heartbeat after which a FastChat worker is gone",
        env="FASTCHAT_CONTROLLER_HEART_BEAT_EXPIRATION",
    )
