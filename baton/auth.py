"""The cluster token: the one secret by which Baton's processes know each other."""

import hmac
import ipaddress

from baton.settings import ServeSettings, SettingsError, read_secret_file

REFUSAL = "this route needs the cluster token: send `Authorization: Bearer <token>`"


class ClusterToken:
    """The shared secret, or its absence: then every caller counts as known, and only loopback may be served."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    @property
    def is_set(self) -> bool:
        return bool(self._secret)

    def admits(self, authorization: str | None) -> bool:
        """Whether an Authorization header proves the secret. Takes the same time for every wrong secret."""
        if not self._secret:
            return True
        scheme, _, given = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), self._secret)

    def headers(self) -> dict[str, str]:
        """What a request to another process of the fleet carries."""
        return {"authorization": f"Bearer {self._secret.decode()}"} if self._secret else {}


def cluster_token(settings: ServeSettings, *, guarded: bool = False) -> ClusterToken:
    """The token of the settings.

    Raises SettingsError where the process would be open to a network without one, unless it is `guarded` otherwise.
    """
    secret = settings.cluster_token or (
        read_secret_file(settings.cluster_token_file) if settings.cluster_token_file else ""
    )
    if not (secret or guarded or settings.insecure) and not is_loopback(settings.host):
        raise SettingsError(
            f"--host {settings.host} would open this process to the network without a secret. Set BATON_CLUSTER_TOKEN "
            "to the same random text on every machine (`openssl rand -hex 32`), or listen on 127.0.0.1, or pass "
            "--insecure if the network itself is closed."
        )
    return ClusterToken(secret)


def is_loopback(host: str) -> bool:
    """Whether a host, given as in a flag or a URL, is this machine alone."""
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
