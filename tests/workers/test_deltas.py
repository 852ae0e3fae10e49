from tests.workers.serving import Decoded, contents, events
from workers.choice import Progress
from workers.deltas import Stream
from workers.generation import Entry
from workers.tools import FoundCall, Piece


def make(**fields: object) -> Stream:
    base: dict[str, object] = {
        "id": "chatcmpl-1",
        "created": 1,
        "model": "m",
        "chat": True,
        "include_usage": False,
        "prompt_tokens": 7,
        "call_id": lambda: "call_1",
    }
    return Stream(**{**base, **fields})  # type: ignore[arg-type]


def entry(index: int, tokens: int, *pieces: Piece, finish: str | None = None) -> Entry:
    return Entry(index, Progress(pieces, tokens, finish))


def read(stream: Stream, *entries: Entry) -> list[Decoded]:
    return events((stream.events(entries) + stream.end()).decode())


def test_a_batch_is_one_chunk_per_choice() -> None:
    """Progress that is ready together goes out together, each choice for itself."""
    chunks = read(make(), entry(0, 1, "a"), entry(0, 2, "b"), entry(1, 1, "x"), entry(0, 3, "c", finish="stop"))
    texts = [(c["index"], c["delta"].get("content")) for chunk in chunks for c in chunk["choices"]]
    assert texts == [(0, ""), (0, "ab"), (1, ""), (1, "x"), (0, "c"), (0, None)]


def test_calls_are_numbered() -> None:
    """The calls of a choice count up, and text between them stays between them."""
    call = FoundCall("f", "{}")
    chunks = read(make(), entry(0, 9, "a", call, "b", call, finish="tool_calls"))
    calls = [c["delta"]["tool_calls"][0] for chunk in chunks for c in chunk["choices"] if "tool_calls" in c["delta"]]
    assert [(made["index"], made["id"], made["type"]) for made in calls] == [
        (0, "call_1", "function"),
        (1, "call_1", "function"),
    ]
    assert contents(chunks) == "ab"


def test_an_empty_answer_has_its_role() -> None:
    """Even an answer without text is a role and a finish."""
    chunks = read(make(), entry(0, 1, finish="stop"))
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[1]["choices"][0]["finish_reason"] == "stop"
