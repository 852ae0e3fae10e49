"""Bytes of a request → struct, with every way of failing turned into OpenAI's error. Pure."""

import re
from typing import TypeVar

import msgspec

from baton.errors import InvalidJsonError, InvalidRequestError

R = TypeVar("R")

_MISSING = re.compile(r"Object missing required field `([^`]+)`")


def parse(decoder: msgspec.json.Decoder[R], body: bytes) -> R:
    """The struct in a JSON body. Raises InvalidRequestError that names the field, or InvalidJsonError."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except RecursionError:
        raise InvalidJsonError("The request body is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        # The decoder's own words are about bytes and speak of truncation where a surrogate is alone.
        raise InvalidJsonError("The request body is not valid JSON in UTF-8.") from None


def _invalid(text: str) -> InvalidRequestError:
    reason, _, place = text.rpartition(" - at `$")
    if not reason:
        reason, place = text, ""
    param = place.rstrip("`").lstrip(".")
    missing = _MISSING.match(reason)
    if missing:
        param = f"{param}.{missing[1]}".lstrip(".")
        return InvalidRequestError(f"`{param}` is missing.", param=param)
    if not param:
        return InvalidRequestError(f"The request body is wrong: {reason}.")
    return InvalidRequestError(f"`{param}` is wrong: {reason}.", param=param)
