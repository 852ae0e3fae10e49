"""What tests with real processes share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Fleet, Process, Processes, start_fleet

DEMO = "baton-demo"


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Processes that end with the test."""
    with Processes(tmp_path) as these:
        yield these


@pytest.fixture
def fleet(processes: Processes) -> Iterator[Fleet]:
    """A fleet of real processes, without workers yet."""
    with start_fleet(processes) as made:
        yield made


@pytest.fixture(scope="session")
def demo_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet whose worker runs the embedded demo model; it lives as long as the tests."""
    with Processes(tmp_path_factory.mktemp("demo-fleet")) as these, start_fleet(these) as made:
        start_demo_worker(made)
        yield made


def start_demo_worker(fleet: Fleet) -> Process:
    """The demo model, as `make demo` serves it, but in the format whose sums are exact enough to compare texts."""
    model = ("--model-path", "demo/model", "--model-names", DEMO, "--dtype", "float32")
    worker = fleet.processes.make("workers hf", *model, "--controller-address", fleet.controller.url).start()
    worker.until_it_answers("/ready")
    fleet.until_served(DEMO)
    return worker
