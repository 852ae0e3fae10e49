"""The URL under which a worker makes itself known."""

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

from baton.settings import SettingsError
from baton.wire import Address

WILDCARDS = ("0.0.0.0", "::", "[::]", "", "*")  # noqa: S104 - compared with, not listened on


def announced(given: str, host: str, listening: str, controller: str, route: Callable[[str], str]) -> str:
    """The address of a worker that listens at the URL `listening`, on `host`.

    `route` tells which of this machine's addresses reaches a URL. Raises SettingsError.
    """
    if given:
        return _checked(given.rstrip("/"))
    if host not in WILDCARDS:
        return listening
    try:
        own = route(controller)
    except OSError as error:
        raise SettingsError(
            f"cannot tell which of this machine's addresses the fleet can reach, as {controller} has no route "
            f"({error}): pass --worker-address http://this-machine:port"
        ) from error
    parts = urlsplit(listening)
    return f"{parts.scheme}://{f'[{own}]' if ':' in own else own}:{parts.port}"


def route_to(url: str) -> str:
    """The address of the interface that leads to a URL's host. Sends nothing. Raises OSError."""
    parts = urlsplit(url)
    family, _, _, _, address = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])


def _checked(address: str) -> str:
    try:
        msgspec.convert(address, Address)
    except msgspec.ValidationError:
        raise SettingsError(f"--worker-address {address}: give http://host:port, without a path") from None
    if (urlsplit(address).hostname or "") in WILDCARDS:
        raise SettingsError(
            f"--worker-address {address} is no address that others can reach: give this machine's name or address, "
            "or leave the flag out"
        )
    return address
