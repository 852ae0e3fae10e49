"""The cluster token: the one secret by which Baton's processes know each other."""

import hmac
import ipaddress
import re

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
        return scheme.lower() == "bearer" and hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self._secret)

    def headers(self) -> dict[str, str]:
        """What a request to another process of the fleet carries."""
        return {"authorization": f"Bearer {self._secret.decode()}"} if self._secret else {}


def cluster_token(settings: ServeSettings, *, guarded: bool = False) -> ClusterToken:
    """The token of the settings.

    Raises SettingsError where the process would be open to a network without one, unless it is `guarded` otherwise.
    """
    secret = settings.cluster_token or _from_file(settings.cluster_token_file)
    if not re.fullmatch(r"[\x21-\x7e]*", secret):
        raise SettingsError("the cluster token must be one word of ASCII: it travels in a header")
    if not (secret or guarded or settings.insecure) and not is_loopback(settings.host):
        raise SettingsError(
            f"--host {settings.host} would open this process to the network without a secret. Set BATON_CLUSTER_TOKEN "
            "to the same random text on every machine (`openssl rand -hex 32`), or listen on 127.0.0.1, or pass "
            "--insecure if the network itself is closed."
        )
    return ClusterToken(secret)


def _from_file(path: str) -> str:
    secret = read_secret_file(path) if path else ""
    if path and not secret:
        raise SettingsError(f"{path} is empty: write the cluster token into it, or do not name it")
    return secret


def is_loopback(host: str) -> bool:
    """Whether a host, given as in a flag or a URL, is this machine alone."""
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
