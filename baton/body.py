"""A request's body: JSON, named as such, and no more of it than allowed."""

from collections.abc import Mapping

from starlette.types import Receive

from baton.errors import BodyTooLargeError, UnsupportedMediaTypeError


class ClientLeftError(Exception):
    """The client closed its connection before its request was whole: there is nobody to answer."""


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """A JSON body of at most `limit` bytes. `headers`: names in lower case.

    Raises UnsupportedMediaTypeError (a page in a browser can post other types, or none, across origins),
    BodyTooLargeError (before the rest is read), ClientLeftError.
    """
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        raise UnsupportedMediaTypeError("Send JSON, with the header `content-type: application/json`.")
    if int(headers.get(b"content-length", b"0")) > limit:  # digits: the HTTP parser sees to it
        raise _too_large(limit)
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The body is larger than the {limit} bytes that are taken here.")
