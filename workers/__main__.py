"""`python -m workers <engine> [flags]`."""

import logging
import os
import sys
import threading
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from baton import process
from workers.engines.table import ENGINES
from workers.process import run
from workers.settings import WorkerSettings

HELP = ("-h", "--help", "help")


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the worker that the command line names. Gives the exit code."""
    name = argv[0] if argv else ""
    if name not in ENGINES:
        print(usage(name), file=sys.stdout if name in HELP else sys.stderr)
        return 0 if name in HELP else process.BAD_SETTINGS
    entry = ENGINES[name]

    def start(settings: WorkerSettings) -> Coroutine[Any, Any, int]:
        return run(name, settings, entry.build)

    return process.main(f"workers {name}", entry.settings, start, argv[1:], environ)


def usage(name: str) -> str:
    """The engines, for someone who named none of them."""
    wrong = f"There is no engine called {name!r}.\n\n" if name and name not in HELP else ""
    engines = "\n".join(f"  {engine:<8} {entry.about}" for engine, entry in ENGINES.items())
    return (
        f"{wrong}usage: python -m workers <engine> [flags]\n\nengines:\n{engines}\n\n"
        "python -m workers <engine> --help shows the flags of an engine."
    )


if __name__ == "__main__":
    exit_code = main(sys.argv[1:], os.environ)
    if threading.active_count() > 1:
        # A model still loads, for nobody: native code on its thread must not meet the interpreter's clean-up.
        logging.shutdown()
        os._exit(exit_code)
    sys.exit(exit_code)
