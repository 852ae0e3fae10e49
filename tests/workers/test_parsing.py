import msgspec
import pytest

from baton.errors import InvalidJsonError, InvalidRequestError
from workers.parsing import parse
from workers.protocol import ChatRequest
from workers.refusals import HARMLESS, check_refused

DECODER = msgspec.json.Decoder(ChatRequest)


def test_the_message_names_the_field() -> None:
    """An error says which field is wrong, and how, in a sentence."""
    with pytest.raises(InvalidRequestError) as caught:
        parse(DECODER, b'{"model": "m", "messages": [{"role": "user"}, {"content": 1}]}')
    assert caught.value.param == "messages[1].content"
    with pytest.raises(InvalidRequestError, match="`messages` is missing") as caught:
        parse(DECODER, b'{"model": "m"}')
    assert caught.value.param == "messages"


def test_what_is_no_json() -> None:
    """Bytes that are no JSON have a code of their own, and nothing of the decoder's insides."""
    with pytest.raises(InvalidJsonError, match="not valid JSON"):
        parse(DECODER, rb'{"model": "\ud800"}')


@pytest.mark.parametrize("field", sorted(HARMLESS))
def test_harmless_values_pass(field: str) -> None:
    """A field that asks for nothing is no reason to refuse a request."""
    if field not in ChatRequest.__struct_fields__:
        return
    for value in (None, *HARMLESS[field]):
        body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "a"}], field: value})
        check_refused(parse(DECODER, body))


def test_every_field_of_any_type_is_looked_at() -> None:
    """No field is read and then dropped in silence."""
    from workers.protocol import CompletionRequest

    honoured_elsewhere = {"tool_choice"}
    for request in (ChatRequest, CompletionRequest):
        loose = {field.name for field in msgspec.structs.fields(request) if "Any" in str(field.type)}
        assert loose - honoured_elsewhere <= set(HARMLESS)
