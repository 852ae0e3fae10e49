"""Server-sent events: the bytes of an OpenAI stream. Pure.

A stream holds `data:` lines only: many small clients do `json.loads(line.split(": ", 1)[1])` on every line
that is not empty.
"""

DONE = b"data: [DONE]\n\n"


def event(data: bytes) -> bytes:
    """One event around one line of JSON."""
    return b"data: " + data + b"\n\n"


class EventSplitter:
    """Passes on whole events only, so that a stream can be cut at any byte without a client seeing half an event.

    Lines may end with LF or CRLF. The cost is linear, however an event is cut.
    """

    __slots__ = ("_held", "_tail", "waiting")

    def __init__(self) -> None:
        self.waiting = 0  # bytes of the event that is not whole yet
        self._held: list[bytes] = []
        self._tail = b""  # their last bytes: a border may begin there

    def feed(self, data: bytes) -> bytes:
        """The whole events that `data` completes, in order; what is left waits for the next call."""
        if not self._held and data.endswith(b"\n\n"):
            return data
        seen = self._tail + data
        end = _end_of_last_event(seen)
        if not end:
            self._hold(data, seen)
            return b""
        cut = end - len(self._tail)
        events = b"".join((*self._held, data[:cut]))
        self._held, self.waiting = [], 0
        self._hold(data[cut:], data[cut:])
        return events

    def rest(self) -> bytes:
        """What is left of an event that never ended."""
        return b"".join(self._held)

    def _hold(self, data: bytes, seen: bytes) -> None:
        if data:
            self._held.append(data)
            self.waiting += len(data)
        self._tail = seen[-3:]


def _end_of_last_event(data: bytes) -> int:
    """Where the last border in `data` ends; 0 without one."""
    ends = (data.rfind(border) + len(border) if border in data else 0 for border in (b"\n\n", b"\r\n\r\n"))
    return max(ends)
