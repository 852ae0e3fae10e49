"""What the API server takes from a client's request: its body, bounded, and the few fields that matter here."""

import re
from collections.abc import Mapping
from secrets import token_hex

import msgspec
from starlette.types import Receive

from baton.errors import BodyTooLargeError, InvalidJsonError, InvalidRequestError, UnsupportedMediaTypeError
from baton.wire import Name

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")  # what we take over from a client
_FIELD = re.compile(r"`\$\.(.+)`|field `(\w+)`")  # where msgspec's messages name a field


class ClientLeftError(Exception):
    """The client closed its connection before its request was whole: there is nobody to answer."""


class Fields(msgspec.Struct):
    """What the API server must know of a request; all else is the worker's business."""

    model: Name
    stream: bool | None = False


_decoder = msgspec.json.Decoder(Fields)


def request_id_of(headers: Mapping[bytes, bytes]) -> bytes:
    """The client's x-request-id where it is a sane one, else a new one."""
    given = headers.get(b"x-request-id", b"")
    return given if _REQUEST_ID.fullmatch(given) else token_hex(16).encode()


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """A JSON body of at most `limit` bytes.

    Raises UnsupportedMediaTypeError, BodyTooLargeError (before the rest is read), ClientLeftError.
    """
    kind = headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise UnsupportedMediaTypeError("Send JSON, with the header `content-type: application/json`.")
    too_large = BodyTooLargeError(f"The body is larger than the {limit} bytes that this server takes.")
    if int(headers.get(b"content-length", b"0")) > limit:  # digits: the HTTP parser sees to it
        raise too_large
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_fields(body: bytes) -> Fields:
    """The fields of a body. Raises InvalidRequestError naming the field, or InvalidJsonError."""
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        found = _FIELD.search(str(error))
        raise InvalidRequestError(str(error), param=(found[1] or found[2]) if found else None) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJsonError(f"The body is not JSON: {error}") from error
