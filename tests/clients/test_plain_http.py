"""Clients that know nothing of OpenAI: curl, and a loop over lines such as many people have written."""

import json
import shutil
import subprocess

import pytest
import requests

from tests.clients.conftest import KEY
from tests.conftest import DEMO
from tests.processes import WAIT, Decoded, chat

QUESTION: Decoded = chat("What is Baton?", model=DEMO, temperature=0)


def curl(url: str, *flags: str, stdin: str = "") -> str:
    """What curl prints."""
    command = ["curl", "-sS", "--max-time", f"{WAIT:g}", "-H", f"authorization: Bearer {KEY}", *flags, url]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(base_url: str) -> None:
    """curl gets JSON whole, lines as a stream, the list of models, and an error's JSON with its status."""
    json_header = ("-H", "content-type: application/json")
    answer = json.loads(curl(f"{base_url}/chat/completions", *json_header, "-d", json.dumps(QUESTION)))
    whole = answer["choices"][0]["message"]["content"]
    assert "Baton" in whole

    lines = curl(f"{base_url}/chat/completions", "-N", *json_header, "-d", json.dumps({**QUESTION, "stream": True}))
    assert "".join(map(delta, lines.strip().split("\n\n")[:-1])) == whole
    assert lines.endswith("data: [DONE]\n\n")

    assert DEMO in [card["id"] for card in json.loads(curl(f"{base_url}/models"))["data"]]

    refused = curl(f"{base_url}/chat/completions", *json_header, "-d", "{", "-w", "\n%{http_code}")
    body, _, status = refused.rpartition("\n")
    assert status == "400"
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_that_asks_before_it_sends(base_url: str) -> None:
    """A body for which curl awaits `100 Continue`, over HTTP/1.0 and 1.1, is answered."""
    body = json.dumps({**QUESTION, "user": "x" * 2_000_000})
    for version in ("--http1.0", "--http1.1"):
        flags = (version, "-H", "content-type: application/json", "-H", "expect: 100-continue", "-d", "@-")
        answer = json.loads(curl(f"{base_url}/chat/completions", *flags, stdin=body))
        assert answer["choices"][0]["message"]["content"]


def test_a_plain_loop_over_lines(base_url: str) -> None:
    """Every non-empty line is `data: ` and JSON, up to `data: [DONE]`: no comments, no other fields, no lone CR."""
    headers = {"authorization": f"Bearer {KEY}"}
    whole = requests.post(f"{base_url}/chat/completions", json=QUESTION, headers=headers, timeout=WAIT)
    asked = {**QUESTION, "stream": True}
    texts = []
    with requests.post(f"{base_url}/chat/completions", json=asked, headers=headers, stream=True, timeout=WAIT) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        for line in map(bytes.decode, reply.iter_lines()):
            if not line:
                continue
            assert line.startswith("data: ")
            if line == "data: [DONE]":
                break
            event = json.loads(line.split(": ", 1)[1])
            texts.append(event["choices"][0]["delta"].get("content") or "")
    assert "".join(texts) == whole.json()["choices"][0]["message"]["content"]


def delta(event: str) -> str:
    """The text in one event of a stream."""
    decoded: Decoded = json.loads(event.removeprefix("data: "))
    return str(decoded["choices"][0]["delta"].get("content") or "")
