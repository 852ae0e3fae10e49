"""What an engine promises to the worker shell.

An engine turns token ids into token ids; the shell (`workers.app`) owns HTTP, text, stop strings and counting.
Every engine is driven from one event loop; whatever is slow inside it runs on the engine's own threads.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


class FinishReason(StrEnum):
    """Why a generation ended, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen, and when to end. Values are already checked by the shell."""

    max_tokens: int  # ≥ 1; prompt + max_tokens fits the context
    temperature: float = 1.0  # 0 = greedy
    top_p: float = 1.0  # (0, 1]
    top_k: int = 0  # 0 = all tokens
    repetition_penalty: float = 1.0  # > 0; on prompt and output tokens (the CTRL paper's form, as transformers has it)
    presence_penalty: float = 0.0  # [-2, 2]; on output tokens only, as OpenAI defines both
    frequency_penalty: float = 0.0
    seed: int | None = None  # same seed, same prompt → same tokens, whatever else is in the batch
    stop_token_ids: frozenset[int] = frozenset()  # besides the model's own end-of-text ids
    ignore_eos: bool = False  # the model's own end-of-text ids do not end the generation
    min_tokens: int = 0  # no end by token id before this many
    resumed: int = 0  # the prompt's last tokens that are output from before a hand-over; they count as output above


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """What a request gets for the fields that it leaves out: the model's own advice, or else OpenAI's defaults."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token. The last one of a generation carries `finish`; it is counted like any other."""

    id: int
    finish: FinishReason | None = None


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What the engine does right now."""

    running: int = 0  # sequences in the batch
    waiting: int = 0  # accepted, not yet in the batch
    kv_usage: float = 0.0  # share of the KV memory in use, 0..1
    tokens_per_second: float = 0.0  # generated, over about the last second


class EngineError(Exception):
    """The engine cannot start, or one generation failed. The text says what, why and what to do."""


class UnloadableError(EngineError):
    """The model cannot be loaded, however often one tries: a wrong path or flag, an unknown architecture."""


class UnusableInputError(ValueError):
    """The model cannot take this input: the chat template refuses it, say. The text goes to the client."""


class Tokenizer(Protocol):
    """Text ↔ token ids, and the model's own chat template. Thread-safe, and quick enough for the event loop."""

    def encode(self, text: str) -> list[int]:
        """Ids of a plain prompt, with the special tokens that the model expects in front."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids; special tokens are left out, incomplete UTF-8 gives U+FFFD."""

    def render_chat(
        self, messages: Sequence[Mapping[str, Json]], tools: Sequence[Mapping[str, Json]] | None
    ) -> list[int]:
        """Prompt ids of a conversation in OpenAI's form, ready for the assistant's turn.

        Raises UnusableInputError where the model has no template or its template refuses the messages.
        """


class Engine(Protocol):
    """One loaded model."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and output together."""

    @property
    def defaults(self) -> SamplingDefaults: ...

    @property
    def notes(self) -> Mapping[str, str]:
        """What an operator should see in `/fleet`: device, dtype, quantisation, the path that serves the model."""

    async def start(self) -> None:
        """Load the model; the properties above hold afterwards. Raises EngineError with a sentence for the operator."""

    def generate(self, prompt: Sequence[int], sampling: Sampling) -> AsyncGenerator[Token, None]:
        """Tokens as they come; closing the generator aborts the sequence and frees what it held.

        Raises UnusableInputError for a prompt that no step could compute, EngineError when this generation fails;
        the engine lives on.
        """

    def load(self) -> EngineLoad: ...

    async def stop(self) -> None:
        """End the running generations and free the device. Safe to call twice, and before `start`."""
