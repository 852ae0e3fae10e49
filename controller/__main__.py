"""`python -m controller`."""

import os
import sys

from baton.auth import cluster_token
from baton.process import main
from baton.serve import listen, serve
from controller.app import create_app
from controller.settings import ControllerSettings


async def run(settings: ControllerSettings) -> int:
    token = cluster_token(settings)
    return await serve(create_app(settings, token), listen(settings), settings)


if __name__ == "__main__":
    sys.exit(main("controller", ControllerSettings, run, sys.argv[1:], os.environ))
