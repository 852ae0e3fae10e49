"""The messages between processes: they survive the way, and absurd ones do not pass."""

import json

import msgspec
import pytest

from baton.wire import (
    Changed,
    Gone,
    Hello,
    InFlight,
    Message,
    Model,
    Protocol,
    Snapshot,
    State,
    Status,
    WorkerView,
    decode_from_worker,
    decode_in_flight,
    decode_to_api_server,
    encode,
)

HELLO = Hello(
    "http://h:1",
    [Model("m", 1_763_000_000, 4096, multimodal=True), Model("n")],
    "fake",
    slots=8,
    speed=2.5,
    protocol=Protocol.FASTCHAT,
    version="1",
    notes={"gpu": "none"},
)
STATUS = Status(State.DRAINING, running=1, waiting=2, direct=3, kv_usage=0.5, tokens_per_second=12.5)
VIEW = WorkerView(HELLO, STATUS, others=4, silent=True)


@pytest.mark.parametrize("message", [HELLO, STATUS, Status(), Hello("https://h", [], "x")])
def test_round_trip_from_worker(message: Message) -> None:
    """What a worker sends is what the controller gets."""
    assert decode_from_worker(encode(message)) == message


@pytest.mark.parametrize("message", [Snapshot("e", [VIEW], ["m"]), Changed(VIEW), Gone("http://h:1")])
def test_round_trip_to_api_server(message: Message) -> None:
    """What the controller sends is what an API server gets."""
    assert decode_to_api_server(encode(message)) == message


def test_round_trip_in_flight() -> None:
    """Counts survive; none are an empty mapping."""
    assert decode_in_flight(encode(InFlight({"http://h:1": 3}))).counts == {"http://h:1": 3}
    assert decode_in_flight(encode(InFlight({}))).counts == {}


def test_unknown_fields_are_ignored() -> None:
    """A newer peer may say more."""
    assert decode_from_worker(b'{"type":"Status","running":1,"mood":"good"}') == Status(running=1)


def hello_with(**fields: object) -> bytes:
    return json.dumps({"type": "Hello", "address": "http://h:1", "models": [], "engine": "e", **fields}).encode()


BAD_STATUS = [
    {"running": -1},
    {"running": 1_000_001},
    {"running": 1.5},
    {"running": None},
    {"running": "1"},
    {"direct": 10**30},
    {"kv_usage": 1.01},
    {"kv_usage": -0.1},
    {"tokens_per_second": -1},
    {"tokens_per_second": 1e300},
    {"state": "asleep"},
]


@pytest.mark.parametrize("fields", BAD_STATUS, ids=str)
def test_absurd_status_is_refused(fields: dict[str, object]) -> None:
    """Negative, huge and mistyped numbers never reach the registry."""
    with pytest.raises(msgspec.ValidationError):
        decode_from_worker(json.dumps({"type": "Status", **fields}))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused(number: str) -> None:
    """JSON has no NaN and no infinity, and no other way leads to one."""
    for field in ("running", "kv_usage", "tokens_per_second"):
        with pytest.raises(msgspec.DecodeError):
            decode_from_worker(f'{{"type":"Status","{field}":{number}}}')


BAD_HELLO: list[dict[str, object]] = [
    {"speed": 0},
    {"speed": -1},
    {"speed": 1e7},
    {"slots": 0},
    {"slots": 10**7},
    {"models": "m"},
    {"models": ["m"]},
    {"models": [{"name": ""}]},
    {"models": [{"name": "m" * 257}]},
    {"models": [{"name": "m", "created": -1}]},
    {"models": [{"name": "m", "created": 10**30}]},
    {"models": [{"name": "m", "context_length": 10**30}]},
    {"models": [{"name": "m"}] * 10_001},
    {"engine": ""},
    {"version": "v" * 10_000},
    {"notes": {"n": "x" * 10_000}},
    {"notes": {str(n): "" for n in range(1000)}},
]


@pytest.mark.parametrize("fields", BAD_HELLO, ids=lambda fields: str(fields)[:60])
def test_absurd_hello_is_refused(fields: dict[str, object]) -> None:
    """A description out of bounds is not taken."""
    with pytest.raises(msgspec.ValidationError):
        decode_from_worker(hello_with(**fields))


BAD_ADDRESSES = [
    "",
    "h:1",
    "ftp://h:1",
    "file:///etc/passwd",
    "http://h:1/",
    "http://h:1/path",
    "http://h:1?x",
    "http://h:1#x",
    "http://user@h:1",
    "http://h :1",
    "http://h\n:1",
    "http://h:1\n",
    "http://",
    "http://h\\x",
    "http://h:1:2",
    "http://h:",
    "http://h:x",
    "http://h:123456",
    "http://[::1",
    "http://" + "h" * 600,
]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_an_address_is_scheme_host_port(address: str) -> None:
    """Nothing but scheme, host and port can be an address: no path, query or user rides along."""
    with pytest.raises(msgspec.ValidationError):
        decode_from_worker(hello_with(address=address))


@pytest.mark.parametrize(
    "address",
    ["http://localhost:21002", "https://gpu-1.example.com", "http://[::1]:80", "http://10.0.0.1:1", "http://h_1"],
)
def test_usual_addresses_pass(address: str) -> None:
    """Names, IPv4 and IPv6 addresses, with and without a port."""
    assert decode_from_worker(hello_with(address=address))


def test_garbage_is_refused() -> None:
    """Whatever is not one of the messages is a DecodeError."""
    for text in ("", "{", "null", "[]", "{}", '{"type":"Goodbye"}', '{"type":"Gone","address":"x"}', "\x00"):
        with pytest.raises(msgspec.DecodeError):
            decode_from_worker(text)
