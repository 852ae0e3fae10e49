"""From token ids to text that may be shown: whole characters, and nothing that may yet be a stop string. Pure."""

from collections.abc import Callable, Sequence

REPLACEMENT = "\ufffd"  # what decoders give for bytes that are no character, or not yet
CONTEXT = 8  # tokens of a window above which its front is dropped
PATIENCE = 32  # tokens without a whole character after which U+FFFD is taken to be meant
LONGEST = 256  # tokens of a window: the bound for text that never comes to a whole end


class Detokenizer:
    """Decodes a growing list of ids, at a cost per token that does not grow.

    Only a window is decoded again for each token: its front is context (a token's text may depend on the one before),
    its tail may be the beginning of a character. Windows are cut only where the text was whole.
    """

    __slots__ = ("_decode", "_sent", "_waited", "_whole", "_window")

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._sent = 0  # characters of the window's text that are out
        self._whole = 0  # length of the window when its text last was whole
        self._waited = 0  # tokens since a character came out

    def push(self, token: int) -> str:
        """The characters that this token completes."""
        self._window.append(token)
        text = self._decode(self._window)
        if text.endswith(REPLACEMENT) and self._waited < PATIENCE and len(self._window) < LONGEST:
            ready = self._take(text, len(text.rstrip(REPLACEMENT)))
            self._waited = 0 if ready else self._waited + 1
            return ready
        self._waited = 0
        ready = self._take(text, len(text))
        self._cut()
        return ready

    def finish(self) -> str:
        """What is left: the U+FFFD of a character that never ended."""
        return self._take(text := self._decode(self._window), len(text))

    def _take(self, text: str, end: int) -> str:
        ready = text[self._sent : end]
        self._sent = max(self._sent, end)
        return ready

    def _cut(self) -> None:
        """Drop the front of a window whose text is whole."""
        if len(self._window) > CONTEXT:
            del self._window[: self._whole]
            self._sent = len(self._decode(self._window))
        self._whole = len(self._window)


class StopMatcher:
    """Finds the stop string that ends first, whatever the pieces in which the text comes.

    One Knuth-Morris-Pratt automaton per stop string: linear in the text, and the automaton's state is the number
    of characters that may yet become the stop string.
    """

    __slots__ = ("_failures", "_held", "_states", "_stops")

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._failures = [_failure_table(stop) for stop in self._stops]
        self._states = [0] * len(self._stops)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Text that may be shown, and whether a stop string ended in it; after True the matcher is used up."""
        if not self._stops:
            return text, False
        for position, character in enumerate(text):
            longest = self._step(character)
            if longest:
                seen = self._held + text[: position + 1]
                return seen[: len(seen) - longest], True
        seen = self._held + text
        keep = max(self._states)
        self._held = seen[len(seen) - keep :]
        return seen[: len(seen) - keep], False

    def finish(self) -> str:
        """The text that was held back, once no more comes."""
        held, self._held = self._held, ""
        return held

    def _step(self, character: str) -> int:
        """Move every automaton on; gives the length of the longest stop string that ends here."""
        longest = 0
        for index, stop in enumerate(self._stops):
            state, failure = self._states[index], self._failures[index]
            while state and stop[state] != character:
                state = failure[state - 1]
            state += stop[state] == character
            if state == len(stop):
                longest = max(longest, state)
                state = failure[state - 1]
            self._states[index] = state
        return longest


def _failure_table(pattern: str) -> list[int]:
    """For each prefix, the length of its longest proper prefix that is also its suffix."""
    table = [0] * len(pattern)
    length = 0
    for index in range(1, len(pattern)):
        while length and pattern[index] != pattern[length]:
            length = table[length - 1]
        length += pattern[index] == pattern[length]
        table[index] = length
    return table
