"""The error tree: OpenAI's types, codes of our own, one body."""

import json
from collections.abc import Iterator

import pytest

from baton import errors
from baton.errors import BatonError

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    500: "server_error",
    502: "server_error",
    503: "server_error",
    504: "server_error",
}


def tree(cls: type[BatonError] = BatonError) -> Iterator[type[BatonError]]:
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from tree(child)


@pytest.mark.parametrize("cls", list(tree()))
def test_status_fits_type(cls: type[BatonError]) -> None:
    """A client's fault is a 4xx of OpenAI's type, ours a 5xx; the code is a word, never a number."""
    assert cls.type == TYPES[cls.status]
    assert cls.code
    assert cls.code.replace("_", "").isalpha()


def test_codes_are_unique() -> None:
    """A code says which error it is."""
    codes = [cls.code for cls in tree()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("cls", list(tree()))
def test_body_is_openais(cls: type[BatonError]) -> None:
    """Every body has exactly OpenAI's four fields."""
    error = cls('a "quoted" sentence \u4e2d', param="n", retry_after=3)
    assert json.loads(error.body()) == {
        "error": {"message": 'a "quoted" sentence \u4e2d', "type": cls.type, "param": "n", "code": cls.code}
    }
    assert error.headers()["content-type"] == "application/json"
    assert error.headers()["retry-after"] == "3"


def test_absent_parts_are_null() -> None:
    """Without a field the param is null, without a wait there is no header."""
    error = errors.InvalidRequestError("no")
    assert json.loads(error.body())["error"]["param"] is None
    assert "retry-after" not in error.headers()


def test_a_wrong_key_tells_the_scheme() -> None:
    """401 comes with the header that RFC 9110 asks for."""
    assert errors.InvalidApiKeyError("no").headers()["www-authenticate"] == "Bearer"
