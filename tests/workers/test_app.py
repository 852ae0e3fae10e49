from collections.abc import Sequence

import httpx
import pytest

from tests.workers.serving import Served, chat, serving
from workers.engines.fake import FakeTokenizer

ROUTES = {
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/m"),
    ("GET", "/version"),
    ("POST", "/worker_generate"),
    ("POST", "/worker_generate_stream"),
    ("POST", "/worker_get_status"),
    ("POST", "/worker_get_conv_template"),
    ("POST", "/worker_get_embeddings"),
    ("POST", "/model_details"),
    ("POST", "/count_token"),
}
STRANGE_PATHS = ["/v1/models/", "//v1/models", "/v1/models?x=1", "/docs", "/openapi.json", "/nope", "/", "/health/"]


def check_shape(response: httpx.Response, status: int, code: str) -> None:
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}


async def test_every_route_needs_the_token() -> None:
    """With a cluster token nothing but health and readiness answers without it."""
    async with serving(token="s3cret") as served:
        for method, path in [*ROUTES, *(("GET", path) for path in STRANGE_PATHS), ("OPTIONS", "/v1/models")]:
            response = await served.client.request(method, path)
            check_shape(response, 401, "invalid_api_key")
            assert response.headers["www-authenticate"] == "Bearer"
        wrong = await served.client.get("/v1/models", headers={"authorization": "Bearer wrong", "host": "a/health"})
        check_shape(wrong, 401, "invalid_api_key")
        right = await served.client.get("/v1/models", headers={"authorization": "Bearer s3cret"})
        assert right.status_code == 200
        assert (await served.client.get("/health")).status_code == 200
        assert (await served.client.get("/ready")).status_code == 200


async def test_the_list_of_routes_is_whole() -> None:
    """The routes of the test above are those of the app."""
    from starlette.routing import Route

    from baton.auth import ClusterToken
    from workers.app import create_app
    from workers.engines.fake import FakeEngine
    from workers.process import make_worker
    from workers.settings import FakeWorkerSettings

    settings = FakeWorkerSettings()
    app = create_app(make_worker(settings, FakeEngine(settings)), ClusterToken(""), 1)
    found = {
        (method, route.path.replace("{name:path}", "m"))
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert found == ROUTES | {("GET", "/health"), ("GET", "/ready")}


async def test_unknown_routes_and_methods() -> None:
    """Unknown routes get 404 and wrong methods 405, in OpenAI's shape."""
    async with serving() as served:
        check_shape(await served.client.get("/nope"), 404, "route_not_found")
        check_shape(await served.client.get("/docs"), 404, "route_not_found")
        wrong = await served.client.get("/v1/completions")
        check_shape(wrong, 405, "method_not_allowed")
        assert wrong.headers["allow"] == "POST"


async def test_models() -> None:
    """Every name is listed with the context length; one can be asked for, unknown ones get 404."""
    async with serving() as served:
        listed = (await served.client.get("/v1/models")).json()
        assert listed["object"] == "list"
        assert [card["id"] for card in listed["data"]] == ["m", "alias"]
        assert listed["data"][0]["max_model_len"] == 4096
        assert (await served.client.get("/v1/models/alias")).json()["id"] == "alias"
        check_shape(await served.client.get("/v1/models/other"), 404, "model_not_found")


async def test_while_the_model_loads() -> None:
    """A loading worker is healthy, not ready, and sends generations elsewhere."""
    async with serving(load=False) as served:
        assert (await served.client.get("/health")).status_code == 200
        check_shape(await served.client.get("/ready"), 503, "no_worker_available")
        response = await served.client.post("/v1/chat/completions", json=chat())
        check_shape(response, 503, "no_worker_available")
        assert "retry-after" in response.headers
        await served.worker.load()
        assert (await served.client.get("/ready")).status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_a_draining_worker_refuses(path: str) -> None:
    """Once a worker drains, new requests are for other workers."""
    async with serving() as served:
        await served.worker.drain(1)
        response = await served.client.post(path, json={**chat(), "prompt": "a"})
        check_shape(response, 503, "no_worker_available")


async def test_a_fault_of_ours_shows_nothing() -> None:
    """A bug gives 500 in OpenAI's shape, without a word about the code, and frees the slot."""
    async with serving() as served:
        _break(served)
        response = await served.client.post("/v1/chat/completions", json=chat())
        check_shape(response, 500, "internal_error")
        assert "secret detail" not in response.text
        assert served.busy == 0


def _break(served: Served) -> None:
    class Broken(FakeTokenizer):
        def decode(self, ids: Sequence[int]) -> str:
            raise KeyError("secret detail", ids)

    served.engine.tokenizer = Broken()
