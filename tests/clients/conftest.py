"""One fleet for all clients: the demo model behind an API server that wants a key, and a slow worker."""

from collections.abc import Iterator

import pytest

from tests.processes import Fleet, start_api_server

KEY = "sk-test"
SLOW = "slow"  # a model whose answers would take many minutes


@pytest.fixture(scope="session")
def keyed_fleet(demo_fleet: Fleet) -> Iterator[Fleet]:
    """The demo fleet, seen through an API server that wants `KEY`."""
    api = start_api_server(demo_fleet.processes, demo_fleet.controller, "--api-keys", f"sk-other,{KEY}")
    api.until_it_answers("/ready")
    headers = {"authorization": f"Bearer {KEY}"}
    with Fleet(demo_fleet.processes, demo_fleet.controller, api, headers=headers) as fleet:
        fleet.worker(SLOW, "--tokens-per-second", "4", "--reply-tokens", "4000")
        yield fleet


@pytest.fixture
def base_url(keyed_fleet: Fleet) -> str:
    """What clients are given besides a key."""
    return f"{keyed_fleet.api.url}/v1"
