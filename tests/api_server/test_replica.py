"""The replica: the controller's picture, and what outlives it."""

import random

import pytest

from api_server.replica import SUSPECT_FOR, UNCONFIRMED_FOR, Replica
from baton.errors import ModelNotFoundError, NoWorkerError
from baton.wire import Changed, Gone, Hello, Model, Snapshot, State, Status, WorkerView
from controller.dispatch import least_load
from controller.registry import REMEMBER

A, B = "http://a:1", "http://b:1"


def view(address: str, *models: str, status: Status | None = None, others: int = 0, silent: bool = False) -> WorkerView:
    described = [Model(name, created=5) for name in models or ("m",)]
    return WorkerView(Hello(address, described, "fake", slots=4), status or Status(), others, silent)


def snapshot(*workers: WorkerView, epoch: str = "one", known: tuple[str, ...] = ()) -> Snapshot:
    return Snapshot(epoch, list(workers), list(known))


def informed(*workers: WorkerView) -> Replica:
    replica = Replica(least_load, random.Random(1))
    replica.apply(snapshot(*workers), 0)
    return replica


def addresses(replica: Replica) -> list[str]:
    return sorted(worker.address for worker in replica.registry.workers())


def test_snapshot_changes_and_ends() -> None:
    """The replica is what the controller tells."""
    replica = informed(view(A))
    replica.apply(Changed(view(B, status=Status(direct=3), others=2)), 1)
    assert addresses(replica) == [A, B]
    worker = replica.registry.get(B)
    assert worker is not None
    assert worker.load == 5
    replica.apply(Gone(A), 2)
    replica.apply(Gone("http://unknown:1"), 2)
    assert addresses(replica) == [B]


def test_own_requests_survive_a_change() -> None:
    """A worker's news do not change what this server has under way there."""
    replica = informed(view(A))
    worker = replica.choose("m", (), 0)
    worker.mine += 1
    replica.apply(Changed(view(A, status=Status(running=1))), 1)
    replica.apply(snapshot(view(A), epoch="two"), 2)
    assert replica.in_flight() == {A: 1}


def test_own_requests_survive_a_short_absence() -> None:
    """A worker whose link was lost for a moment still has this server's requests when it is back."""
    replica = informed(view(A))
    worker = replica.choose("m", (), 0)
    worker.mine += 1
    replica.apply(Gone(A), 1)
    replica.apply(Changed(view(A)), 2)
    assert replica.in_flight() == {A: 1}
    worker.mine -= 1
    assert replica.in_flight() == {}


def test_the_same_controller_is_believed_at_once() -> None:
    """After a lost connection, who is not in the controller's snapshot is gone."""
    replica = informed(view(A), view(B))
    replica.apply(snapshot(view(A)), 1)
    assert addresses(replica) == [A]


def test_a_new_controller_gets_time() -> None:
    """A restarted controller knows nobody yet: workers stay for a grace, those it confirms for good."""
    replica = informed(view(A), view(B))
    replica.apply(snapshot(epoch="two"), 10)
    assert addresses(replica) == [A, B]
    assert replica.choose("m", (), 10)
    replica.apply(Changed(view(B)), 11)
    replica.expire(10 + UNCONFIRMED_FOR)
    assert addresses(replica) == [A, B]
    replica.expire(10 + UNCONFIRMED_FOR + 0.1)
    assert addresses(replica) == [B]


def test_the_grace_survives_a_second_connection() -> None:
    """A watch that breaks during the grace does not end it."""
    replica = informed(view(A))
    replica.apply(snapshot(epoch="two"), 10)
    replica.apply(snapshot(epoch="two"), 11)
    assert addresses(replica) == [A]
    replica.expire(10 + UNCONFIRMED_FOR + 0.1)
    assert addresses(replica) == []


def test_two_restarts_do_not_prolong_the_grace() -> None:
    """The grace counts from the first controller that did not know the worker."""
    replica = informed(view(A))
    replica.apply(snapshot(epoch="two"), 10)
    replica.apply(snapshot(epoch="three"), 14)
    replica.expire(10 + UNCONFIRMED_FOR + 0.1)
    assert addresses(replica) == []


def test_unknown_and_known_models() -> None:
    """404 for a model that nobody ever had, 503 for one that lost its workers; 503 too before any news."""
    with pytest.raises(NoWorkerError):
        Replica(least_load, random.Random(1)).choose("m", (), 0)
    replica = informed(view(A))
    replica.apply(snapshot(view(A), known=("m", "old")), 1)
    with pytest.raises(ModelNotFoundError, match=r"'n' does not exist.*m\."):
        replica.choose("n", (), 1)
    with pytest.raises(NoWorkerError) as refused:
        replica.choose("old", (), 1)
    assert refused.value.retry_after
    replica.apply(Gone(A), 2)
    with pytest.raises(NoWorkerError):
        replica.choose("m", (), 3)
    replica.expire(2 + REMEMBER)
    with pytest.raises(ModelNotFoundError):
        replica.choose("m", (), 2 + REMEMBER)


@pytest.mark.parametrize(
    "unable", [view(A, status=Status(State.LOADING)), view(A, status=Status(State.DRAINING)), view(A, silent=True)]
)
def test_who_cannot_take_work_is_not_chosen(unable: WorkerView) -> None:
    """Loading, draining and silent workers get nothing, and their model is known."""
    replica = informed(unable)
    assert not replica.serves
    with pytest.raises(NoWorkerError):
        replica.choose("m", (), 0)
    replica.apply(Changed(view(B)), 1)
    assert replica.serves
    assert replica.choose("m", (), 1).address == B


def test_tried_workers_are_not_tried_again() -> None:
    """One request meets each worker once."""
    replica = informed(view(A), view(B))
    first = replica.choose("m", (), 0)
    second = replica.choose("m", [first], 0)
    assert {first.address, second.address} == {A, B}
    with pytest.raises(NoWorkerError):
        replica.choose("m", [first, second], 0)


def test_suspects_are_avoided_for_a_moment() -> None:
    """After a failed connection others are preferred, for a while, and only while there are others."""
    replica = informed(view(A), view(B))
    suspect = replica.registry.get(A)
    assert suspect is not None
    replica.suspect(suspect, 10)
    assert {replica.choose("m", (), 10).address for _ in range(50)} == {B}
    assert {replica.choose("m", (), 10 + SUSPECT_FOR).address for _ in range(50)} == {A, B}
    replica.suspect(suspect, 20)
    replica.apply(Gone(B), 20)
    assert replica.choose("m", (), 20) is suspect


def test_a_suspect_is_tried_when_all_others_were() -> None:
    """A request that failed elsewhere may still go to a suspect."""
    replica = informed(view(A), view(B))
    suspect, other = replica.registry.get(A), replica.registry.get(B)
    assert suspect is not None
    assert other is not None
    replica.suspect(suspect, 10)
    assert replica.choose("m", [other], 10) is suspect


def test_models_are_described_by_their_oldest_worker() -> None:
    """The list does not change when a worker joins."""
    replica = informed(view(A, "m", "n"))
    newer = Hello(B, [Model("m", created=9, context_length=77)], "fake")
    replica.apply(Changed(WorkerView(newer, Status())), 1)
    assert replica.models() == [Model("m", created=5), Model("n", created=5)]


def test_a_model_is_listed_once_it_is_loaded() -> None:
    """Clients choose from the list: a model that still loads is known, but not on it."""
    replica = Replica(least_load, random.Random(1))
    hello = Hello("http://a:1", [Model("m")], "fake")
    replica.apply(Snapshot("e", [WorkerView(hello, Status(State.LOADING))], []), 0.0)
    assert (replica.models(), replica.registry.knows("m")) == ([], True)
    replica.apply(Changed(WorkerView(hello, Status())), 0.0)
    assert [model.name for model in replica.models()] == ["m"]
