"""What the API server takes from a client's request: the few fields that matter here."""

import re
from collections.abc import Mapping
from secrets import token_hex

import msgspec

from baton.errors import InvalidJsonError, InvalidRequestError
from baton.wire import Name

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")  # what we take over from a client
_FIELD = re.compile(r"`\$\.(.+)`|field `(\w+)`")  # where msgspec's messages name a field


class Fields(msgspec.Struct):
    """What the API server must know of a request; all else is the worker's business."""

    model: Name
    stream: bool | None = False


_decoder = msgspec.json.Decoder(Fields)


def request_id_of(headers: Mapping[bytes, bytes]) -> bytes:
    """The client's x-request-id where it is a sane one, else a new one."""
    given = headers.get(b"x-request-id", b"")
    return given if _REQUEST_ID.fullmatch(given) else token_hex(16).encode()


def read_fields(body: bytes) -> Fields:
    """The fields of a body. Raises InvalidRequestError naming the field, or InvalidJsonError."""
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        found = _FIELD.search(str(error))
        raise InvalidRequestError(str(error), param=(found[1] or found[2]) if found else None) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJsonError(f"The body is not JSON: {error}") from error
