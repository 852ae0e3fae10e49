"""The bodies of FastChat's controller protocol."""

from typing import Annotated

import msgspec
from msgspec import Meta

NO_WORKER, WORKER_TIMEOUT = 50005, 50006  # FastChat's error codes
TROUBLE = "**NETWORK ERROR DUE TO HIGH TRAFFIC. PLEASE REGENERATE OR REFRESH THIS PAGE.**"

Queue = Annotated[int, Meta(ge=0, le=1_000_000)]


class WorkerStatus(msgspec.Struct):
    model_names: list[str]
    speed: Annotated[float, Meta(gt=0, le=1e6)]
    queue_length: Queue


class Registration(msgspec.Struct):
    worker_name: str
    check_heart_beat: bool
    worker_status: WorkerStatus | None = None
    multimodal: bool = False


class HeartBeat(msgspec.Struct):
    worker_name: str
    queue_length: Queue


class Exist(msgspec.Struct):
    exist: bool


class ModelQuery(msgspec.Struct):
    model: str


class Chosen(msgspec.Struct):
    address: str


class Models(msgspec.Struct):
    models: list[str]


class Trouble(msgspec.Struct):
    text: str
    error_code: int


def trouble_frame(code: int, detail: str) -> bytes:
    """A stream's frame that tells of a failure."""
    return msgspec.json.encode(Trouble(f"{TROUBLE}\n\n({detail})", code)) + b"\0"
