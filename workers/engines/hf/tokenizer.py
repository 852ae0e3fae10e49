"""Text ↔ token ids through transformers' tokenizers."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import jinja2
from transformers import PreTrainedTokenizerBase

from workers.engines.base import Json, UnusableInputError
from workers.engines.hf.tool_calls import with_objects


class HfTokenizer:
    """A model's tokenizer and its own chat template; see `workers.engines.base.Tokenizer`."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        # The Rust core is thread-safe; its Python shell changes padding settings with every call and is not.
        self._core = getattr(tokenizer, "backend_tokenizer", None)
        self._turn: AbstractContextManager[object] = nullcontext() if self._core else threading.Lock()
        if self._core is not None:
            self._core.no_truncation()
            self._core.no_padding()

    @property
    def eos(self) -> int | None:
        """Id of the end-of-text token."""
        return cast("int | None", self._tokenizer.eos_token_id)

    @property
    def size(self) -> int:
        """Ids that stand for something."""
        return len(cast(Any, self._tokenizer))

    def encode(self, text: str) -> list[int]:
        """See Tokenizer."""
        return self._encode(text, specials=True)

    def decode(self, ids: Sequence[int]) -> str:
        """See Tokenizer."""
        with self._turn:
            text = self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return cast(str, text)

    def render_chat(
        self, messages: Sequence[Mapping[str, Json]], tools: Sequence[Mapping[str, Json]] | None
    ) -> list[int]:
        """See Tokenizer. Text of users goes into the template as data only."""
        if not self._tokenizer.chat_template:
            raise UnusableInputError("this model has no chat template: send a plain prompt to /v1/completions instead")
        conversation = [with_objects(message) for message in messages]
        try:
            with self._turn:
                text = self._tokenizer.apply_chat_template(
                    cast(Any, conversation),  # its annotation knows plain string fields only
                    tools=[dict(tool) for tool in tools] if tools else None,
                    add_generation_prompt=True,
                    tokenize=False,
                )
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
            raise UnusableInputError(f"the model's chat template refuses these messages: {error}") from error
        return self._encode(cast(str, text), specials=False)  # the template has written them already

    def _encode(self, text: str, *, specials: bool) -> list[int]:
        if self._core is not None:
            return cast("list[int]", self._core.encode(text, add_special_tokens=specials).ids)
        with self._turn:
            return cast("list[int]", self._tokenizer.encode(text, add_special_tokens=specials))
