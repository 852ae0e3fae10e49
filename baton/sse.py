"""Server-sent events: the bytes of an OpenAI stream. Pure.

A stream holds `data:` lines only: many small clients do `json.loads(line.split(": ", 1)[1])` on every line
that is not empty.
"""

DONE = b"data: [DONE]\n\n"


def event(data: bytes) -> bytes:
    """One event around one line of JSON."""
    return b"data: " + data + b"\n\n"


class EventSplitter:
    """Passes on whole events only, so that a stream can be cut at any byte without a client seeing half an event."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """The whole events that `data` completes, in order; what is left waits for the next call."""
        if self._rest:
            data = self._rest + data
        if data.endswith(b"\n\n"):
            self._rest = b""
            return data
        end = data.rfind(b"\n\n") + 2
        if end == 1:
            self._rest = data
            return b""
        self._rest = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        """What is left of an event that never ended."""
        return self._rest
