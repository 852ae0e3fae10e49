"""One generation: its tokens, how far they are computed, and when it ends."""

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from workers.engines.base import EngineError, FinishReason, Sampling, Token
from workers.engines.hf.penalties import Penalties


@dataclass(slots=True, eq=False)
class Sequence:
    """Owned by the compute thread from the moment it is submitted."""

    prompt: Items[int]
    sampling: Sampling
    seed: int
    ends: frozenset[int]  # ids that end the text; they stay out of it until `min_tokens` is reached
    room: int  # most tokens of prompt and output together
    deliver: Callable[[Token | EngineError], None]  # called on the event loop
    tokens: list[int] = field(init=False)  # prompt and output
    done: int = 0  # tokens whose keys and values are in the cache
    penalties: Penalties | None = None

    def __post_init__(self) -> None:
        self.tokens = list(self.prompt)

    @property
    def given(self) -> int:
        """Tokens that the request came with; what a hand-over brought back is output."""
        return len(self.prompt) - self.sampling.resumed

    @property
    def left(self) -> int:
        """Tokens still to compute; 1 = the newest only."""
        return len(self.tokens) - self.done

    @property
    def generated(self) -> int:
        return len(self.tokens) - self.given

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken."""
        return self.sampling.temperature < 1e-5 or self.sampling.top_k == 1

    @property
    def barred(self) -> frozenset[int]:
        """Ids that the next token must not be."""
        return self.ends if self.generated < self.sampling.min_tokens else frozenset()

    def add(self, token: int) -> Token:
        """Take the next token; the returned one says whether it is the last."""
        self.tokens.append(token)
        if self.penalties is not None:
            self.penalties.count(token)
        return Token(token, self._finish(token))

    def _finish(self, token: int) -> FinishReason | None:
        if token in self.ends:
            return FinishReason.STOP
        if self.generated >= self.sampling.max_tokens or len(self.tokens) >= self.room:
            return FinishReason.LENGTH
        return None
