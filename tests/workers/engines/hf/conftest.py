"""One thread per operation: the models are tiny, and waiting for a second core would take most of the time."""

from pathlib import Path

import pytest
import torch
from transformers.utils import logging

from tests.workers.engines.hf.tiny import make_model


@pytest.fixture(scope="session", autouse=True)
def quick() -> None:
    """See the module."""
    torch.set_num_threads(1)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model."""
    folder = tmp_path_factory.mktemp("llama")
    make_model(folder)
    return folder
