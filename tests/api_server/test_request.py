"""What is taken from a client's request."""

import pytest
from starlette.types import Message, Receive

from api_server.request import read_fields, request_id_of
from baton.body import ClientLeftError, read_body
from baton.errors import BatonError, BodyTooLargeError, InvalidJsonError, InvalidRequestError, UnsupportedMediaTypeError


def receiving(*messages: Message) -> Receive:
    rest = list(messages)

    async def receive() -> Message:
        return rest.pop(0)

    return receive


def part(data: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


JSON = {b"content-type": b"application/json"}


async def test_a_body_in_parts() -> None:
    """Parts are put together; a limit is met to the byte."""
    assert await read_body(JSON, receiving(part(b"ab"), part(b"cd", more=False)), 4) == b"abcd"
    assert await read_body(JSON, receiving(part(b"abcd", more=False)), 4) == b"abcd"


async def test_a_body_too_large_is_refused_early() -> None:
    """The rest of a body that is too large is not read."""
    with pytest.raises(BodyTooLargeError):
        await read_body(JSON, receiving(part(b"ab"), part(b"cde")), 4)


async def test_a_length_too_large_is_refused_at_once() -> None:
    """A body that announces itself as too large is not read at all."""
    with pytest.raises(BodyTooLargeError):
        await read_body({**JSON, b"content-length": b"5"}, receiving(), 4)


async def test_a_client_that_leaves() -> None:
    """A disconnect within the body is nobody's error."""
    with pytest.raises(ClientLeftError):
        await read_body(JSON, receiving(part(b"ab"), {"type": "http.disconnect"}), 4)


@pytest.mark.parametrize("kind", [b"text/plain", b"multipart/form-data; boundary=x", b"application/jsonp", b"\xff"])
async def test_other_media_types_are_refused(kind: bytes) -> None:
    """Only JSON is taken, and nothing is read of what is not."""
    with pytest.raises(UnsupportedMediaTypeError):
        await read_body({b"content-type": kind}, receiving(), 4)


@pytest.mark.parametrize("kind", [b"application/json", b"APPLICATION/JSON; charset=utf-8"])
async def test_json_is_taken(kind: bytes) -> None:
    """Case and parameters of the media type do not matter."""
    assert await read_body({b"content-type": kind}, receiving(part(b"{}", more=False)), 4) == b"{}"


def test_fields() -> None:
    """Model and stream are read, all else is passed over."""
    fields = read_fields(b'{"messages":[{"a":1}],"model":"m","stream":true,"n":NULL}'.replace(b"NULL", b"null"))
    assert (fields.model, fields.stream) == ("m", True)
    assert not read_fields(b'{"model":"m","stream":null}').stream
    assert not read_fields(b'{"model":"m"}').stream


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{}", "model"),
        (b'{"model":null}', "model"),
        (b'{"model":5}', "model"),
        (b'{"model":["m"]}', "model"),
        (b'{"model":"m","stream":"yes"}', "stream"),
        (b'{"model":"m","stream":1}', "stream"),
        (b'{"model":"' + b"m" * 300 + b'"}', "model"),
        (b"[]", None),
        (b'"m"', None),
    ],
)
def test_a_wrong_field_is_named(body: bytes, param: str | None) -> None:
    """The error says which field is wrong."""
    with pytest.raises(InvalidRequestError) as refused:
        read_fields(body)
    assert refused.value.param == param
    assert len(refused.value.message) < 300


@pytest.mark.parametrize(
    "body", [b"", b"{", b"model=m", b"\xff", b'{"model":"\xff"}', b'{"model":"\\ud800"}', b'{"model":"m","x":NaN}']
)
def test_what_is_not_json(body: bytes) -> None:
    """Garbage is invalid JSON."""
    with pytest.raises(InvalidJsonError):
        read_fields(body)


def test_deep_nesting_is_refused() -> None:
    """Depth costs no stack overflow."""
    for body in (b"[" * 100_000, b'{"model":"m","x":' + b"[" * 100_000, b'{"x":' * 100_000):
        with pytest.raises(BatonError):
            read_fields(body)


def test_request_ids() -> None:
    """A sane id is taken over; a long or an odd one is replaced, so that it can go into heads and logs."""
    assert request_id_of({b"x-request-id": b"my-id_1"}) == b"my-id_1"
    for odd in (b"", b"a b", b"a\r\nx: y", b"\xff", b"x" * 129):
        made = request_id_of({b"x-request-id": odd})
        assert made != odd
        assert made.isalnum()
    assert request_id_of({}) != request_id_of({})
