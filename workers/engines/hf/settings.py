"""What the Hugging Face engine is told by its operator."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HfSettings:
    """Settings of one loaded model."""

    model_path: str  # a folder, or an id on the Hugging Face hub
    revision: str | None = None  # branch, tag or commit of a hub id
    device: str | None = None  # cpu | cuda | cuda:1 | mps | xpu | npu; None = cuda where there is one, else cpu
    dtype: str = "auto"  # auto | float32 | float16 | bfloat16; auto = the checkpoint's own, where the device likes it
    num_gpus: int = 1  # more than one: the layers are spread over the first so many GPUs
    max_gpu_memory: str | None = None  # most memory for weights on each GPU, "13GiB" say
    load_8bit: bool = False  # weights in 8 bits, by bitsandbytes
    trust_remote_code: bool = False  # run Python code that ships with the model
    slots: int = 32  # most sequences in a batch; further ones wait
    prompt_budget: int | None = None  # prompt tokens per step, for which the others wait; None = 256, on a GPU 2048
    max_context: int | None = None  # a shorter context than the model's own
    seed: int | None = None  # where the seeds of unseeded requests come from; None = the operating system
