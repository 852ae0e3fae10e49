"""Requests that must be refused, sent through an API server to a real worker."""

import json
from collections.abc import Iterator

import httpx

from tests.processes import CHAT, Fleet, chat, text_of

TEXT = "/v1/completions"
FINE = [{"role": "user", "content": "a"}]
MB = 1 << 20


def message(**fields: object) -> dict[str, object]:
    return {"model": "m", "messages": [fields]}


CHATS: list[object] = [
    {},
    [],
    None,
    "text",
    1,
    {"model": "m"},
    {"messages": FINE},
    {"model": None, "messages": FINE},
    {"model": 7, "messages": FINE},
    {"model": "", "messages": FINE},
    {"model": "m" * 10_000, "messages": FINE},
    {"model": "never heard of", "messages": FINE},
    {"model": "m", "messages": []},
    {"model": "m", "messages": None},
    {"model": "m", "messages": "hello"},
    {"model": "m", "messages": {"role": "user"}},
    {"model": "m", "messages": [None]},
    {"model": "m", "messages": FINE * 5000},
    message(),
    message(content="a"),
    message(role=None, content="a"),
    message(role=["user"], content="a"),
    message(role="wizard", content="a"),
    message(role="", content="a"),
    message(role="user"),
    message(role="user", content=None),
    message(role="user", content=1),
    message(role="user", content={"text": "a"}),
    message(role="user", content=[{"type": "text", "text": None}]),
    message(role="user", content=[{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]),
    message(role="user", content="nul \0"),
    chat("a" * 10_000),
    chat("a", n=10**30),
    chat("a", n=1.5),
    chat("a", n="1"),
    chat("a", max_tokens=0),
    chat("a", max_tokens=-1),
    chat("a", max_tokens=10**400),
    chat("a", max_tokens=1e308),
    chat("a", temperature=-1),
    chat("a", temperature=10**400),
    chat("a", temperature="hot"),
    chat("a", temperature=[1]),
    chat("a", top_p=0),
    chat("a", seed=2**64),
    chat("a", stop=[""]),
    chat("a", stop={"a": 1}),
    chat("a", stream="yes"),
    chat("a", stream=1),
    chat("a", stream_options={"include_usage": "perhaps"}, stream=True),
    chat("a", logit_bias={"1": 100}),
    chat("a", tools=7),
    chat("a", tools=[None]),
    chat("a", tools=[{"type": "function", "function": None}]),
    chat("a", tool_choice={"type": "function", "function": {"name": "missing"}}),
]

TEXTS: list[object] = [
    {"model": "m"},
    {"model": "m", "prompt": None},
    {"model": "m", "prompt": []},
    {"model": "m", "prompt": [[]]},
    {"model": "m", "prompt": [-1]},
    {"model": "m", "prompt": [10**12]},
    {"model": "m", "prompt": [1, "a"]},
    {"model": "m", "prompt": {"a": 1}},
    {"model": "m", "prompt": "a" * 10_000},
    {"model": "m", "prompt": "a", "best_of": 3},
]

# What no JSON library would write.
RAW: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("no JSON", b"model=m&messages=a"),
    ("cut off", b'{"model": "m", "messages": [{"role": "user", "content": "a'),
    ("two bodies", json.dumps(chat("a")).encode() * 2),
    ("NaN", b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "temperature": NaN}'),
    ("Infinity", b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "top_p": -Infinity}'),
    ("overflow", b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "temperature": 1e999}'),
    ("digits", b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "seed": ' + b"9" * MB + b"}"),
    ("half an escaped pair", b'{"model": "m", "messages": [{"role": "user", "content": "a \\ud83d b"}]}'),
    ("half an escaped pair as model", b'{"model": "\\udc00", "messages": [{"role": "user", "content": "a"}]}'),
    ("half a raw pair", b'{"model": "m", "messages": [{"role": "user", "content": "a \xed\xa0\xbd b"}]}'),
    ("half a raw pair as model", b'{"model": "\xed\xb0\x80", "messages": [{"role": "user", "content": "a"}]}'),
    ("Latin-1", b'{"model": "m", "messages": [{"role": "user", "content": "caf\xe9"}]}'),
    ("UTF-16", '{"model": "m", "messages": []}'.encode("utf-16")),
    ("nested lists", b'{"model": "m", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ("nested objects", b'{"model": "m", "messages": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001),
    ("nested in an ignored field", json.dumps(chat("a")).encode()[:-1] + b', "x": ' + b"[" * 100_000 + b"}"),
    ("nested in a tool", json.dumps(chat("a")).encode()[:-1] + b', "tools": ' + b"[" * 100_000 + b"}"),
    ("10 MB", json.dumps(chat("a" * (10 * MB))).encode()),
    ("40 MB", json.dumps(chat("a" * (40 * MB))).encode()),
]


def requests() -> Iterator[tuple[str, str, bytes]]:
    """Route, a name for the reader, body."""
    for path, bodies in ((CHAT, CHATS), (TEXT, TEXTS)):
        for body in bodies:
            raw = json.dumps(body).encode()
            yield path, raw[:200].decode(), raw
    for path in (CHAT, TEXT):
        yield from ((path, name, raw) for name, raw in RAW)


def test_poison_is_refused_and_leaves_nothing_behind(fleet: Fleet) -> None:
    """Every poisonous body gets a 4xx in OpenAI's shape, costs no slot and no process; then a good request works."""
    worker = fleet.worker("a", "--limit-worker-concurrency", "2", "--max-waiting", "0")
    wrong = [
        f"{path} {name}: {reply.status_code} {reply.text[:300]}"
        for path, name, body in requests()
        if not refused_well(reply := post(fleet.http, path, body))
    ]
    assert wrong == []
    assert worker.alive
    fleet.until_idle()
    assert text_of(fleet.ask("hi", n=2))  # takes both slots
    for process in (worker, fleet.api, fleet.controller):
        assert "Traceback" not in process.log


def test_a_poisoned_stream_is_refused_before_it_begins(fleet: Fleet) -> None:
    """With `stream: true` a wrong body gets the same status and shape as without, and no stream."""
    fleet.worker("a")
    for body in CHATS:
        if isinstance(body, dict) and "stream" not in body:
            reply = post(fleet.http, CHAT, json.dumps({**body, "stream": True}).encode())
            assert refused_well(reply), reply.text
    fleet.until_idle()
    assert text_of(fleet.ask("hi"))


def post(http: httpx.Client, path: str, body: bytes) -> httpx.Response:
    return http.post(path, content=body, headers={"content-type": "application/json"})


def refused_well(reply: httpx.Response) -> bool:
    """Whether this is a 4xx with OpenAI's error object."""
    if not 400 <= reply.status_code < 500 or reply.headers["content-type"] != "application/json":
        return False
    error = reply.json()["error"]
    return (
        set(error) == {"message", "type", "param", "code"}
        and bool(error["message"])
        and isinstance(error["type"], str)
        and isinstance(error["code"], str)
        and isinstance(error["param"], str | None)
    )
