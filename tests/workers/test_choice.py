from collections.abc import Sequence

from workers.choice import Choice, Progress, Reading
from workers.engines.base import FinishReason, Token
from workers.tools import FoundCall

CALL = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'


def decode(ids: Sequence[int]) -> str:
    return bytes(ids).decode(errors="replace")


def read(text: str, reading: Reading, finish: FinishReason = FinishReason.LENGTH) -> list[Progress]:
    """All progress of an answer whose tokens are the bytes of a text; ends where the choice says so."""
    choice = Choice(decode, reading)
    raw = text.encode()
    made: list[Progress] = []
    for place, byte in enumerate(raw):
        progress = choice.push(Token(byte, finish if place == len(raw) - 1 else None))
        if progress:
            made.append(progress)
            if progress.finish:
                break
    return made


def shown(made: list[Progress]) -> str:
    return "".join(piece for progress in made for piece in progress.pieces if isinstance(piece, str))


def test_counts_tokens_up_to_the_stop_string() -> None:
    """The token that completes the stop string is the last that counts."""
    made = read("one two END three", Reading(stops=("END",)))
    assert shown(made) == "one two "
    assert made[-1].tokens == len("one two END")
    assert made[-1].finish == "stop"


def test_the_token_that_ends_an_answer_is_not_shown() -> None:
    """An end-of-text token, or a stop token, counts but has no text."""
    made = read("abc!", Reading(), FinishReason.STOP)
    assert shown(made) == "abc"
    assert (made[-1].tokens, made[-1].finish) == (4, "stop")


def test_held_text_comes_out_at_the_end() -> None:
    """Text held back for a stop string that never came is shown with the last token."""
    made = read("abc EN", Reading(stops=("END",)))
    assert shown(made) == "abc EN"
    assert made[-1].finish == "length"


def test_calls_make_the_reason() -> None:
    """An answer with calls that ends by itself ended for its calls; the layout after them is dropped."""
    made = read(f"{CALL}\n{CALL}\n.", Reading(tool_calls=True), FinishReason.STOP)
    assert [piece for progress in made for piece in progress.pieces] == [FoundCall("f", "{}")] * 2
    assert made[-1].finish == "tool_calls"


def test_one_call_ends_an_answer_that_may_have_one() -> None:
    """Without parallel calls the answer is over with its first."""
    made = read(f"{CALL}{CALL}.", Reading(tool_calls=True, parallel_tool_calls=False))
    assert (made[-1].tokens, made[-1].finish) == (len(CALL), "tool_calls")


def test_tags_are_text_without_tools() -> None:
    """Nothing is parsed in the answer to a request without tools."""
    assert shown(read(CALL, Reading())) == CALL
