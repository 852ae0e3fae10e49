from workers.slots import Slots


def test_runs_in_order_of_arrival() -> None:
    """Whoever waits longest gets the next free slot."""
    slots = Slots[str](1, 2)
    assert slots.enter("a")
    assert not slots.enter("b")
    assert not slots.enter("c")
    assert slots.leave("a") == "b"
    assert slots.leave("b") == "c"
    assert slots.leave("c") is None
    assert slots.counts() == (0, 0)


def test_leaving_the_queue_frees_its_place_only() -> None:
    """A ticket that leaves while it waits starts nobody."""
    slots = Slots[str](1, 2)
    slots.enter("a")
    slots.enter("b")
    assert slots.leave("b") is None
    assert slots.counts() == (1, 0)


def test_leaving_twice_changes_nothing() -> None:
    """A slot cannot be given back more often than it was taken."""
    slots = Slots[str](1, 2)
    slots.enter("a")
    slots.leave("a")
    slots.enter("b")
    slots.leave("a")
    assert slots.running == {"b"}


def test_room_is_bounded() -> None:
    """There is room for the free slots and the queue, and no more."""
    slots = Slots[str](2, 1)
    assert slots.has_room(3)
    assert not slots.has_room(4)
    for ticket in "abc":
        slots.enter(ticket)
    assert not slots.has_room(1)
    slots.leave("c")
    assert slots.has_room(1)
