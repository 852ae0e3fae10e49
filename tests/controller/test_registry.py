"""The registry: workers by address and by model."""

import random

from baton.wire import Hello, Model, Protocol, State, Status
from controller.registry import REMEMBER, Registry


def hello(address: str, *models: str, protocol: Protocol = Protocol.OPENAI) -> Hello:
    return Hello(address, [Model(name) for name in models], "fake", protocol=protocol)


def names(registry: Registry, model: str, protocol: Protocol = Protocol.OPENAI) -> list[str]:
    return [worker.address for worker in registry.candidates(model, protocol)]


def test_workers_are_found_by_model() -> None:
    """A worker is a candidate for each of its models, and for no other."""
    registry = Registry()
    registry.put(hello("http://a", "m", "n"), 0)
    registry.put(hello("http://b", "n"), 0)
    assert names(registry, "m") == ["http://a"]
    assert names(registry, "n") == ["http://a", "http://b"]
    assert names(registry, "o") == []
    assert registry.models() == ["m", "n"]
    assert len(registry) == 2


def test_protocols_are_kept_apart() -> None:
    """Who speaks OpenAI only is never given a worker that does not."""
    registry = Registry()
    registry.put(hello("http://a", "m", protocol=Protocol.FASTCHAT), 0)
    assert names(registry, "m") == []
    assert names(registry, "m", Protocol.FASTCHAT) == ["http://a"]


def test_only_ready_workers_that_are_heard_take_work() -> None:
    """Loading, draining and silent workers are listed, and get nothing."""
    registry = Registry()
    worker = registry.put(hello("http://a", "m"), 0)
    for state, takes in ((State.LOADING, False), (State.DRAINING, False), (State.READY, True)):
        worker.status = Status(state)
        assert bool(names(registry, "m")) is takes
    worker.silent = True
    assert names(registry, "m") == []
    assert registry.models() == ["m"]


def test_a_new_description_keeps_the_load() -> None:
    """A worker that changes its models is the same worker: same object, same counts, new index."""
    registry = Registry()
    worker = registry.put(hello("http://a", "m", "n"), 0)
    worker.mine = 3
    assert registry.put(hello("http://a", "n", "o"), 1) is worker
    assert worker.load == 3
    assert [names(registry, model) for model in "mno"] == [[], ["http://a"], ["http://a"]]
    assert registry.models() == ["n", "o"]
    assert registry.known_models() == ["m", "n", "o"]


def test_a_model_stays_known_for_a_while() -> None:
    """After its last worker left, a model is known for the time that is promised, not longer."""
    registry = Registry()
    registry.put(hello("http://a", "m"), 0)
    assert registry.remove("http://a", 10)
    assert not registry.remove("http://a", 11)
    registry.forget(10 + REMEMBER - 1)
    assert registry.knows("m")
    assert registry.models() == []
    registry.forget(10 + REMEMBER)
    assert not registry.knows("m")


def test_remembered_models_are_known_until_forgotten() -> None:
    """Models told by somebody else count as known; one that has a worker is not marked as gone."""
    registry = Registry()
    registry.put(hello("http://a", "m"), 0)
    registry.remember(["m", "old"], 5)
    assert registry.known_models() == ["m", "old"]
    registry.forget(5 + REMEMBER)
    assert registry.known_models() == ["m"]


def test_the_same_name_twice_in_a_description() -> None:
    """A model named twice is one model, and leaves no trace when its worker goes."""
    registry = Registry()
    registry.put(hello("http://a", "m", "m"), 0)
    assert names(registry, "m") == ["http://a"]
    registry.remove("http://a", 0)
    assert registry.models() == []


def test_random_histories_agree_with_a_simple_model() -> None:
    """After any sequence of changes the index is what a search over all workers finds."""
    rng, registry, truth = random.Random(5), Registry(), dict[str, set[str]]()
    for now in range(3000):
        address = f"http://{rng.randrange(8)}"
        if rng.random() < 0.6:
            models = rng.sample("mnopq", rng.randrange(4))
            truth[address] = set(models)
            registry.put(hello(address, *models), now)
        else:
            assert registry.remove(address, now) is (truth.pop(address, None) is not None)
        assert set(registry.models()) == set().union(*truth.values())
        for model in "mnopq":
            assert set(names(registry, model)) == {address for address, models in truth.items() if model in models}
