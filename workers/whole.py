"""Progress of choices → one whole response. Pure, but for the ids of tool calls, which come from outside."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from msgspec import UNSET

from workers.generation import Entry
from workers.responses import Answer, AnswerMessage, ChatChoice, TextChoice, encode, tool_call, usage
from workers.tools import FoundCall


@dataclass(slots=True)
class Gathered:
    """One choice, whole."""

    text: list[str] = field(default_factory=list)
    calls: list[FoundCall] = field(default_factory=list)
    tokens: int = 0
    finish: str = ""


class Gathering:
    """Collects the progress of all choices of a request."""

    def __init__(self, count: int) -> None:
        self._choices = [Gathered() for _ in range(count)]

    def add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            choice, progress = self._choices[entry.index], entry.progress
            choice.text += (piece for piece in progress.pieces if isinstance(piece, str))
            choice.calls += (piece for piece in progress.pieces if isinstance(piece, FoundCall))
            choice.tokens, choice.finish = progress.tokens, progress.finish or ""

    def chat(self, answer_id: str, created: int, model: str, prompt_tokens: int, call_id: Callable[[], str]) -> bytes:
        """The body of a chat completion."""
        choices = [
            ChatChoice(index, _message(choice, call_id), choice.finish) for index, choice in enumerate(self._choices)
        ]
        return encode(Answer(answer_id, "chat.completion", created, model, choices, usage(prompt_tokens, self.tokens)))

    def completion(self, answer_id: str, created: int, model: str, prompt_tokens: int) -> bytes:
        """The body of a text completion."""
        choices = [TextChoice(index, "".join(choice.text), choice.finish) for index, choice in enumerate(self._choices)]
        return encode(Answer(answer_id, "text_completion", created, model, choices, usage(prompt_tokens, self.tokens)))

    @property
    def tokens(self) -> int:
        return sum(choice.tokens for choice in self._choices)


def _message(choice: Gathered, call_id: Callable[[], str]) -> AnswerMessage:
    text = "".join(choice.text)
    if not choice.calls:
        return AnswerMessage(text)
    return AnswerMessage(text or None, tool_calls=[tool_call(call, call_id()) for call in choice.calls] or UNSET)
