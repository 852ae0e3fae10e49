from baton.wire import State, Status
from tests.workers.serving import serving
from workers.presence import Presence
from workers.settings import FakeWorkerSettings


async def test_what_a_worker_says_grows_with_what_it_knows() -> None:
    """While it loads a worker tells its names; afterwards the context length, the notes and its load too."""
    settings = FakeWorkerSettings(model_names=("m", "alias"), limit_worker_concurrency=3, speed=2)
    async with serving(settings, load=False) as served:
        presence = Presence(served.worker, "http://127.0.0.1:1", "fake")
        assert presence.status() == Status(state=State.LOADING)
        hello = presence.hello()
        assert [(model.name, model.created, model.context_length) for model in hello.models] == [
            ("m", 0, 0),
            ("alias", 0, 0),
        ]
        assert (hello.slots, hello.speed, hello.notes) == (3, 2.0, {})
        await served.worker.load()
        hello = presence.hello()
        assert all(model.created > 0 and model.context_length == 4096 for model in hello.models)
        assert hello.notes
        with served.worker.admission.admit(5, direct=True):
            assert presence.status() == Status(state=State.READY, running=3, waiting=2, direct=5)
        await served.worker.drain(0)
        assert presence.status() == Status(state=State.DRAINING)
