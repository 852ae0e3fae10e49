"""A checked request: its prompts as token ids, how to sample, how to read the answers. Pure, given the tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from baton.errors import ContextLengthError, InvalidRequestError
from workers.choice import Reading
from workers.conversation import check_text
from workers.engines.base import Engine, Sampling
from workers.protocol import ChatRequest, Generating

SEEDS = 2**63  # seeds that engines see are below it


@dataclass(frozen=True, slots=True)
class Job:
    """One answer to generate."""

    index: int
    prompt: Sequence[int]
    sampling: Sampling
    reading: Reading


def check_stream_options(request: Generating) -> None:
    if request.stream_options is not None and not request.stream:
        raise InvalidRequestError("`stream_options` needs `stream: true`.", param="stream_options")


def wants_usage(request: Generating) -> bool:
    """Whether a stream ends with a usage chunk."""
    return bool(request.stream_options and request.stream_options.include_usage)


def check_stop_strings(request: Generating) -> tuple[str, ...]:
    """The strings that end an answer. Raises InvalidRequestError."""
    if request.stop is None:
        return ()
    if isinstance(request.stop, str):
        return (check_text(request.stop, "stop"),)
    return tuple(check_text(stop, f"stop[{index}]") for index, stop in enumerate(request.stop))


def make_jobs(
    request: Generating, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling], reading: Reading
) -> list[Job]:
    """`n` jobs for each prompt; the choices of a seeded request differ by their seeds."""
    count = request.n or 1
    return [
        Job(
            index=place * count + choice,
            prompt=prompt,
            sampling=sampling if sampling.seed is None else replace(sampling, seed=(sampling.seed + choice) % SEEDS),
            reading=reading,
        )
        for place, (prompt, sampling) in enumerate(zip(prompts, samplings, strict=True))
        for choice in range(count)
    ]


def make_sampling(
    engine: Engine, request: Generating, prompt_tokens: int, asked: int | None, most: int, seed: int | None
) -> Sampling:
    """Sampling of one prompt. `asked` tokens, or else as many as fit, up to `most`. Raises ContextLengthError."""
    granted = _granted(request, prompt_tokens, asked, most, engine.context_length)
    defaults = engine.defaults
    min_tokens = request.min_tokens or 0
    if min_tokens > granted:
        raise InvalidRequestError(f"`min_tokens` is above the {granted} tokens that fit.", param="min_tokens")
    chosen = request.seed if request.seed is not None else seed
    return Sampling(
        max_tokens=granted,
        temperature=_given(request.temperature, defaults.temperature),
        top_p=_given(request.top_p, defaults.top_p),
        top_k=max(0, defaults.top_k if request.top_k is None else request.top_k),
        repetition_penalty=_given(request.repetition_penalty, defaults.repetition_penalty),
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        seed=None if chosen is None else chosen % SEEDS,
        stop_token_ids=frozenset(request.stop_token_ids or ()),
        ignore_eos=bool(request.ignore_eos),
        min_tokens=min_tokens,
    )


def _granted(request: Generating, prompt_tokens: int, asked: int | None, most: int, context: int) -> int:
    left = context - prompt_tokens
    wanted = max(1, min(left, most)) if asked is None else asked
    if wanted > left:
        raise ContextLengthError(
            f"This model's maximum context length is {context} tokens. However, you requested "
            f"{prompt_tokens + wanted} tokens ({prompt_tokens} in the prompt, {wanted} in the completion). "
            "Please reduce the length of the prompt or of the completion.",
            param="messages" if isinstance(request, ChatRequest) else "prompt",
        )
    return wanted


def _given(value: float | None, default: float) -> float:
    return default if value is None else value
