"""The controller and the API server stay small: they may run on the smallest machine of a fleet."""

from pathlib import Path

import pytest

from tests.processes import Fleet

MOST = 60 << 10  # KiB


def resident(pid: int) -> int:
    """KiB of a process in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("the kernel says nothing of VmRSS")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_controller_and_api_server_are_small(fleet: Fleet) -> None:
    """After 50 requests each of the two holds at most 60 MiB, and neither has loaded torch."""
    fleet.worker("a")
    assert [fleet.ask(f"question {number}").status_code for number in range(50)] == [200] * 50
    for process in (fleet.controller, fleet.api):
        assert resident(process.pid) <= MOST, process.what
        assert "torch" not in Path(f"/proc/{process.pid}/maps").read_text()
