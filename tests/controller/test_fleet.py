"""The fleet: who is alive, who owns a record, how busy everyone is."""

import random
from collections import Counter

import pytest

from baton.wire import DEAD_AFTER, SILENT_AFTER, Hello, Model, Protocol, State, Status
from controller import fleet as fleet_module
from controller.dispatch import least_load
from controller.fleet import CLAIM_LIFETIME, Fleet, FleetFullError

A, B = "http://a:1", "http://b:1"
INF = float("inf")


class Rig:
    """A fleet, and the addresses it has told of."""

    def __init__(self) -> None:
        self.touched: list[str] = []
        self.fleet = Fleet("epoch", least_load, random.Random(1), self.touched.append)

    def news(self) -> list[str]:
        news = self.touched[:]
        self.touched.clear()
        return news


@pytest.fixture
def rig() -> Rig:
    return Rig()


def hello(address: str, *models: str, slots: int = 4, protocol: Protocol = Protocol.OPENAI) -> Hello:
    return Hello(address, [Model(name) for name in models or ("m",)], "fake", slots=slots, protocol=protocol)


def test_changes_are_told_once(rig: Rig) -> None:
    """Every public change is told; a status that says nothing new is not."""
    rig.fleet.hello(1, hello(A), 0)
    assert rig.news() == [A]
    assert rig.fleet.status(1, A, Status(running=1), 1)
    assert rig.news() == [A]
    assert rig.fleet.status(1, A, Status(running=1), 2)
    assert rig.news() == []
    rig.fleet.leave(1, A, 3)
    assert rig.news() == [A]


def test_the_newest_link_owns_the_record(rig: Rig) -> None:
    """A worker that comes back on a new link wins; the old link can neither change nor remove it."""
    rig.fleet.hello(1, hello(A, "old"), 0)
    rig.fleet.hello(2, hello(A, "new"), 1)
    assert not rig.fleet.status(1, A, Status(State.DRAINING), 2)
    rig.fleet.leave(1, A, 2)
    assert rig.fleet.registry.models() == ["new"]
    assert rig.fleet.choose("new", 2) == A
    assert rig.fleet.owns(2, A)
    assert not rig.fleet.owns(1, A)
    rig.fleet.leave(2, A, 3)
    assert rig.fleet.choose("new", 3) is None


def test_a_new_link_does_not_inherit_a_state(rig: Rig) -> None:
    """A worker that drained and was started again at the same address takes work."""
    rig.fleet.hello(1, hello(A), 0)
    rig.fleet.status(1, A, Status(State.DRAINING, direct=9), 1)
    rig.fleet.hello(2, hello(A), 2)
    assert rig.fleet.choose("m", 2) == A


def test_silence_then_death(rig: Rig) -> None:
    """No status: no new work after the one time, gone after the other."""
    rig.fleet.hello(1, hello(A), 100)
    assert rig.fleet.expire(100 + SILENT_AFTER) == []
    assert rig.fleet.choose("m", 100) == A
    rig.news()
    assert rig.fleet.expire(100 + SILENT_AFTER + 0.1) == []
    assert rig.news() == [A]
    assert rig.fleet.choose("m", 104) is None
    assert rig.fleet.expire(100 + DEAD_AFTER) == []
    assert rig.fleet.expire(100 + DEAD_AFTER + 0.1) == [A]
    assert rig.fleet.view(0, A) is None


def test_a_silent_worker_that_speaks_is_back(rig: Rig) -> None:
    """One status ends the silence."""
    rig.fleet.hello(1, hello(A), 0)
    rig.fleet.expire(SILENT_AFTER + 1)
    rig.news()
    assert rig.fleet.status(1, A, Status(), SILENT_AFTER + 2)
    assert rig.news() == [A]
    assert rig.fleet.choose("m", SILENT_AFTER + 2) == A


def test_fastchat_workers_live_by_their_own_times(rig: Rig) -> None:
    """Without a link a worker is never silent; it dies after its own lifetime, or never."""
    rig.fleet.hello(0, hello(A, protocol=Protocol.FASTCHAT), 0, 90)
    rig.fleet.hello(0, hello(B, protocol=Protocol.FASTCHAT), 0, INF)
    assert rig.fleet.expire(89) == []
    assert rig.fleet.choose("m", 89) in (A, B)
    assert rig.fleet.expire(91) == [A]
    assert rig.fleet.expire(1e9) == []


def test_a_heartbeat_of_a_stranger(rig: Rig) -> None:
    """Neither an unknown address nor one that a link owns can be changed by a heartbeat."""
    assert not rig.fleet.set_queue_length(A, 3, 0)
    rig.fleet.hello(1, hello(A), 0)
    assert not rig.fleet.set_queue_length(A, 3, 0)


def test_claims_count_until_the_worker_reports(rig: Rig) -> None:
    """An address that was given away counts as a request, until the worker says how it is."""
    rig.fleet.hello(1, hello(A), 0)
    rig.fleet.hello(2, hello(B), 0)
    given = Counter(rig.fleet.choose("m", 0) for _ in range(40))
    assert given == {A: 20, B: 20}
    rig.fleet.status(1, A, Status(), 1)
    assert Counter(rig.fleet.choose("m", 1) for _ in range(20)) == {A: 20}


def test_claims_lapse(rig: Rig) -> None:
    """A client that never came does not count for ever."""
    rig.fleet.hello(0, hello(A), 0, INF)
    rig.fleet.choose("m", 0)
    rig.fleet.choose("m", 3)
    worker = rig.fleet.registry.get(A)
    assert worker is not None
    loads = []
    for now in (CLAIM_LIFETIME, CLAIM_LIFETIME + 0.1, CLAIM_LIFETIME + 3.1):
        rig.fleet.expire(now)
        loads.append(worker.load)
    assert loads == [2, 1, 0]


def test_others_see_what_one_has_under_way(rig: Rig) -> None:
    """An API server's requests are folded into what all others see, and not into what it sees itself."""
    rig.fleet.hello(1, hello(A), 0)
    rig.fleet.in_flight(7, {A: 3})
    rig.fleet.in_flight(8, {A: 2, "http://unknown": 5})
    seen = {watch: view.others for watch in (7, 8, 9) if (view := rig.fleet.view(watch, A))}
    assert seen == {7: 2, 8: 3, 9: 5}
    rig.news()
    rig.fleet.in_flight(7, {A: 3})
    assert rig.news() == []
    rig.fleet.in_flight(7, {})
    assert rig.news() == [A]
    assert [view.others for view in rig.fleet.snapshot(9).workers] == [2]


def test_a_worker_that_comes_back_finds_its_requests(rig: Rig) -> None:
    """What API servers have under way at an address counts also when its worker registers anew."""
    rig.fleet.in_flight(7, {A: 3})
    rig.fleet.hello(1, hello(A), 0)
    view = rig.fleet.view(8, A)
    assert view is not None
    assert view.others == 3


def test_the_controllers_own_choice_counts_all(rig: Rig) -> None:
    """Requests of API servers, direct ones and claims all weigh in the controller's choice."""
    rig.fleet.hello(1, hello(A), 0)
    rig.fleet.hello(2, hello(B), 0)
    rig.fleet.in_flight(7, {A: 3})
    rig.fleet.status(2, B, Status(direct=1), 0)
    assert [rig.fleet.choose("m", 0) for _ in range(2)] == [B, B]


def test_the_snapshot_tells_all(rig: Rig) -> None:
    """Epoch, workers, and models whose last worker left lately."""
    rig.fleet.hello(1, hello(A, "m"), 0)
    rig.fleet.hello(2, hello(B, "n"), 0)
    rig.fleet.leave(2, B, 1)
    snapshot = rig.fleet.snapshot(1)
    assert snapshot.epoch == "epoch"
    assert [view.hello.address for view in snapshot.workers] == [A]
    assert snapshot.known_models == ["m", "n"]


def test_a_fleet_has_a_bound(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full fleet takes no stranger, and still hears those it has."""
    monkeypatch.setattr(fleet_module, "MAX_WORKERS", 2)
    rig.fleet.hello(1, hello(A), 0)
    rig.fleet.hello(2, hello(B), 0)
    with pytest.raises(FleetFullError):
        rig.fleet.hello(3, hello("http://c:1"), 0)
    rig.fleet.hello(4, hello(A), 1)
    rig.fleet.leave(2, B, 2)
    rig.fleet.hello(5, hello("http://c:1"), 3)
    assert len(rig.fleet.registry) == 2
