"""`python -m api_server`."""

import logging
import os
import sys

from api_server.app import create_app, make_parts
from api_server.settings import ApiServerSettings, check
from baton.auth import cluster_token, is_loopback
from baton.process import main
from baton.serve import listen, serve

log = logging.getLogger("api_server")


async def run(settings: ApiServerSettings) -> int:
    check(settings)
    token = cluster_token(settings, guarded=bool(settings.api_keys))
    if not settings.api_keys and not is_loopback(settings.host):
        log.warning("no API keys are set: whoever reaches %s may use the models (--api-keys)", settings.host)
    return await serve(create_app(settings, make_parts(settings, token)), listen(settings), settings)


if __name__ == "__main__":
    sys.exit(main("api_server", ApiServerSettings, run, sys.argv[1:], os.environ))
