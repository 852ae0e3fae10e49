"""The controller and the API server die and come back."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.processes import MODEL, Decoded, Fleet, Processes, events, piece, start_api_server, text_of, until

STEADY = ("--tokens-per-second", "50")


class Asking:
    """Requests one after the other, for as long as a block lasts."""

    def __init__(self, fleet: Fleet) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._fleet = fleet
        self._enough = threading.Event()

    def run(self) -> None:
        while not self._enough.is_set():
            reply = self._fleet.ask("hi", max_tokens=2)
            if reply.status_code != 200:
                self.failures.append(f"{reply.status_code} {reply.text}")
            self.answered += 1

    def some_more(self) -> None:
        """Wait until ten more requests are answered."""
        goal = self.answered + 10
        until(lambda: self.answered >= goal, "ten more answers")

    @contextmanager
    def going_on(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._enough.set()
            thread.join()


def test_serving_goes_on_without_the_controller(fleet: Fleet) -> None:
    """While the controller is dead no request fails and an open stream goes on; a new controller knows all again."""
    fleet.worker("a", *STEADY)
    fleet.worker("b", *STEADY)
    story: dict[str, Decoded] = {"max_tokens": 150, "ignore_eos": True}
    whole = text_of(fleet.ask("a long story", **story))
    asking = Asking(fleet)
    with asking.going_on(), fleet.stream("a long story", **story) as reply:
        coming = events(reply)
        text = piece(next(coming))
        fleet.controller.kill()
        asking.some_more()
        text += piece(next(coming))
        fleet.controller.serve()
        asking.some_more()
        until(lambda: served(fleet) == [[MODEL, "a"], [MODEL, "b"]], "the new controller knows both workers")
        until(lambda: fleet.picture()["api_servers"] == 1, "the new controller knows the API server")
        fleet.worker("c", *STEADY)
        asking.some_more()
        text += "".join(piece(event) for event in coming)
    assert asking.failures == []
    assert text == whole
    fleet.until_idle()


def served(fleet: Fleet) -> list[list[str]]:
    """The models of each worker that is ready."""
    return sorted(
        [model["name"] for model in worker["models"]]
        for worker in fleet.picture()["workers"]
        if worker["state"] == "ready"
    )


def test_an_api_server_that_comes_back_serves(fleet: Fleet) -> None:
    """A killed API server leaves no request in flight behind, and works again on its port after a restart."""
    fleet.worker("a", *STEADY)
    with fleet.stream("a long story", max_tokens=3000, ignore_eos=True) as reply:
        assert next(events(reply))
        fleet.api.kill()
    fleet.until_idle()
    fleet.api.serve()
    fleet.until_served(MODEL)
    assert fleet.picture()["api_servers"] == 1


def test_processes_may_start_in_any_order(processes: Processes) -> None:
    """A worker and an API server that find no controller say so, keep trying, and join once it is there."""
    controller = processes.make("controller")
    api = start_api_server(processes, controller)
    fleet = Fleet(processes, controller, api)
    with fleet:
        worker = fleet.make_worker("a").serve().until_it_answers("/ready")
        worker.until_it_says(f"no link to the controller {controller.url}")
        api.until_it_answers("/ready", 503)
        controller.serve()
        api.until_it_answers("/ready")
        assert text_of(fleet.ask("hi"))
