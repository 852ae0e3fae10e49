"""What a worker is told by its operator: what every worker knows, and one class per engine."""

from dataclasses import dataclass

from baton.settings import ServeSettings, SettingsError, check_url, setting

MOST = 100_000  # sequences that run or wait; far below what the wire can tell


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(ServeSettings):
    """A worker."""

    port: int = setting(21002, "port to listen on; 0 takes a free one")
    worker_address: str = setting("", "URL at which the fleet reaches this worker; found out when not given")
    controller_address: tuple[str, ...] = setting(
        ("http://localhost:21001",), "URL of the controller, or several with commas between"
    )
    model_path: str = setting("", "folder of the model, or its id on the Hugging Face hub")
    model_names: tuple[str, ...] = setting((), "names under which the model is served, with commas between")
    limit_worker_concurrency: int = setting(32, "sequences that run at the same time")
    max_waiting: int = setting(256, "sequences that may wait for their turn; beyond that requests get 503")
    register: bool = setting(True, "join the fleet of the controller")
    seed: int | None = setting(None, "makes the seeds of requests without one repeat from start to start")
    speed: float = setting(1.0, "speed relative to a worker of speed 1, for the controller's choice")
    drain_timeout: float = setting(30.0, "seconds that running requests get when the worker is told to stop")
    max_body_bytes: int = setting(32 * 1024 * 1024, "largest request body; beyond that requests get 413")

    def names(self) -> tuple[str, ...]:
        """The served names; a model that was given none has that of its folder."""
        return self.model_names or (self.model_path.rstrip("/").rpartition("/")[2],)


@dataclass(frozen=True, kw_only=True)
class FakeWorkerSettings(WorkerSettings):
    """A worker with an engine that makes text up, for load tests, demonstrations and drills."""

    model_path: str = setting("fake", "the model that this worker pretends to have; only its name matters")
    tokens_per_second: float = setting(0.0, "tokens per second of each stream; 0 = as fast as possible")
    prefill_ms_per_token: float = setting(0.0, "milliseconds before the first token, for each token of the prompt")
    context_length: int = setting(4096, "most tokens of prompt and output together")
    reply_tokens: int = setting(64, "tokens after which an answer ends by itself")
    fail_after: int = setting(-1, "fail a generation after so many tokens; -1 = never")
    fail_rate: float = setting(1.0, "share of the generations that --fail-after hits")
    load_seconds: float = setting(0.0, "seconds that loading takes")
    fail_load: bool = setting(False, "fail to load")


@dataclass(frozen=True, kw_only=True)
class HfWorkerSettings(WorkerSettings):
    """A worker that runs a model with Hugging Face transformers."""

    revision: str | None = setting(None, "branch, tag or commit of a hub id")
    device: str | None = setting(None, "cpu, cuda, cuda:1, mps, xpu or npu; cuda where there is one, else cpu")
    dtype: str = setting(
        "auto",
        "number format of the weights; auto = the checkpoint's",
        choices=("auto", "float32", "float16", "bfloat16"),
    )
    num_gpus: int = setting(1, "GPUs over which the layers are spread")
    max_gpu_memory: str | None = setting(None, "most memory for weights on each GPU, 13GiB say")
    load_8bit: bool = setting(False, "weights in 8 bits")
    trust_remote_code: bool = setting(False, "run Python code that ships with the model")
    max_context: int | None = setting(None, "a shorter context than the model's own")


def check(settings: WorkerSettings) -> None:
    """Raises SettingsError for the first value that cannot be honoured."""
    if isinstance(settings, HfWorkerSettings) and not settings.model_path:
        raise SettingsError("--model-path is missing: give a folder, or an id on the Hugging Face hub")
    if isinstance(settings, FakeWorkerSettings):
        _check_fake(settings)
    if not 1 <= settings.limit_worker_concurrency <= MOST:
        raise SettingsError(f"--limit-worker-concurrency must be from 1 to {MOST}")
    if not 0 <= settings.max_waiting <= MOST:
        raise SettingsError(f"--max-waiting must be from 0 to {MOST}")
    if not 0 < settings.speed <= 1e6:
        raise SettingsError("--speed must be above 0, and at most a million")
    if settings.drain_timeout < 0:
        raise SettingsError("--drain-timeout must be 0 or more")
    if settings.max_body_bytes < 1:
        raise SettingsError("--max-body-bytes must be 1 or more")
    _check_names(settings)


def _check_names(settings: WorkerSettings) -> None:
    addresses = settings.controller_address
    if settings.register and not addresses:
        raise SettingsError("--controller-address is empty: give the controller's URL, or pass --no-register")
    for address in addresses:
        check_url("--controller-address", address)
    for name in settings.names():
        if not 1 <= len(name) <= 256:
            raise SettingsError(f"--model-names: a name has 1 to 256 characters, not {len(name)}")


def _check_fake(settings: FakeWorkerSettings) -> None:
    if settings.context_length < 2:
        raise SettingsError("--context-length must be 2 or more: one token of prompt, one of output")
    if settings.reply_tokens < 1:
        raise SettingsError("--reply-tokens must be 1 or more")
    if not 0 <= settings.fail_rate <= 1:
        raise SettingsError("--fail-rate is a share: from 0 to 1")
    if min(settings.tokens_per_second, settings.prefill_ms_per_token, settings.load_seconds) < 0:
        raise SettingsError("--tokens-per-second, --prefill-ms-per-token and --load-seconds must be 0 or more")
