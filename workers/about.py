"""The routes that only tell: models, health, readiness, version."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from baton import __version__
from baton.errors import ModelNotFoundError
from workers.responses import ModelCard, ModelList, encode
from workers.worker import Worker


class About:
    """Answers from the worker's state."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def models(self, _: Request) -> Response:
        cards = [self._card(name) for name in self._worker.engines]
        return Response(encode(ModelList(data=cards)), media_type="application/json")

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._worker.engines:
            raise ModelNotFoundError(f"The model `{name}` does not exist on this worker.", param="model")
        return Response(encode(self._card(name)), media_type="application/json")

    async def health(self, _: Request) -> Response:
        """200 while the process answers at all."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """200 while generations are taken; else NoWorkerError."""
        self._worker.check_ready()
        return JSONResponse({"status": "ready"})

    async def version(self, _: Request) -> Response:
        return JSONResponse({"version": __version__})

    def _card(self, name: str) -> ModelCard:
        worker = self._worker
        loaded = worker.loaded_at > 0
        return ModelCard(
            id=name,
            created=worker.loaded_at,
            max_model_len=worker.engines[name].context_length if loaded else None,
        )
