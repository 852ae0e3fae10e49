"""API keys: who may use this server."""

import hashlib
from collections.abc import Iterable

REFUSAL = "Incorrect or missing API key. Send one of this server's keys as `Authorization: Bearer <key>`."


class ApiKeys:
    """The keys of the settings; with none, everybody is admitted.

    Only digests are kept and looked up, so the time of a look-up says nothing of a key.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = frozenset(_digest(key.encode("utf-8", "surrogateescape")) for key in keys)

    def admits(self, authorization: str | None) -> bool:
        """Whether an Authorization header carries a key of ours."""
        if not self._digests:
            return True
        scheme, _, key = (authorization or "").partition(" ")
        sent = key.strip().encode("latin-1", "replace")  # the bytes of a header are shown as Latin-1
        return scheme.lower() == "bearer" and _digest(sent) in self._digests


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
