"""Every message that crosses a border between Baton's processes, as msgspec structs in JSON.

Worker link (`/link`, WebSocket, worker → controller): `Hello`, then `Status` on change and at least every second.
Watch (`/watch`, WebSocket, controller → API server): `Snapshot`, then `Changed` and `Gone`; back: `InFlight`.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

LINK_PATH = "/link"
WATCH_PATH = "/watch"
STATUS_INTERVAL = 1.0  # seconds between statuses of a worker with nothing new to say
STATUS_COALESCE = 0.1  # seconds for which changes gather before a status goes out
SILENT_AFTER = 3.0  # seconds without a status: no new work
DEAD_AFTER = 10.0  # seconds without a status: gone

# On requests from an API server to a worker: its id. A worker counts requests without it as `direct`.
VIA_HEADER = "baton-via"

Name = Annotated[str, Meta(min_length=1, max_length=256)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Big = Annotated[int, Meta(ge=0, le=1 << 53)]  # what a JavaScript client can still read
Address = Annotated[  # scheme, host, port; `\Z`, as `$` lets a line end pass
    str, Meta(min_length=8, max_length=512, pattern=r"^https?://([^\s/?#@:\\\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?\Z")
]
Note = Annotated[str, Meta(max_length=4096)]


class Message(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Base of what is sent: the JSON names its class in `type`."""


class State(StrEnum):
    """Where a worker is in its life."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


class Protocol(StrEnum):
    """What a worker speaks on its HTTP port."""

    OPENAI = "openai"
    FASTCHAT = "fastchat"


class Model(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model as a worker offers it; several names may stand for the same weights."""

    name: Name
    created: Big = 0  # unix seconds at which the worker loaded it
    context_length: Big = 0  # tokens; 0 = unknown
    multimodal: bool = False


class Hello(Message, frozen=True, omit_defaults=True):
    """Who a worker is. Sent first on a link, and again when anything here changes."""

    address: Address
    models: Annotated[list[Model], Meta(max_length=10_000)]
    engine: Name
    slots: Annotated[int, Meta(ge=1, le=1_000_000)] = 1  # sequences that run at the same time
    speed: Annotated[float, Meta(gt=0, le=1e6)] = 1.0  # relative to a worker of speed 1
    protocol: Protocol = Protocol.OPENAI
    version: Annotated[str, Meta(max_length=256)] = ""
    notes: Annotated[dict[Name, Note], Meta(max_length=100)] = {}


class Status(Message, frozen=True, omit_defaults=True):
    """What a worker does now."""

    state: State = State.READY
    running: Count = 0
    waiting: Count = 0
    direct: Count = 0  # of running + waiting: requests that no API server of this fleet sent
    kv_usage: Annotated[float, Meta(ge=0, le=1)] = 0.0
    tokens_per_second: Annotated[float, Meta(ge=0, le=1e9)] = 0.0


class WorkerView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A worker as API servers see it."""

    hello: Hello
    status: Status
    others: Count = 0  # in flight from API servers other than the one that reads this
    silent: bool = False


class Snapshot(Message, frozen=True, omit_defaults=True):
    """The whole registry. A new `epoch` means a new controller, whose picture may not be whole yet."""

    epoch: str
    workers: list[WorkerView]
    known_models: list[str]  # models that have, or lately had, a worker


class Changed(Message, frozen=True, omit_defaults=True):
    worker: WorkerView


class Gone(Message, frozen=True, omit_defaults=True):
    address: str


class InFlight(Message, frozen=True, omit_defaults=True):
    """Requests that one API server has under way, by worker address; addresses left out have none."""

    counts: dict[str, Count]


FromWorker = Hello | Status
ToApiServer = Snapshot | Changed | Gone

decode_from_worker = msgspec.json.Decoder(FromWorker).decode
decode_to_api_server = msgspec.json.Decoder(ToApiServer).decode
decode_in_flight = msgspec.json.Decoder(InFlight).decode
encode = msgspec.json.Encoder().encode

GARBLED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what the decoders raise on garbage
