"""`python -m workers <engine> [flags]`."""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial

import uvloop

from baton import logs
from baton.settings import SettingsError, parse
from workers.engines.table import ENGINES
from workers.process import run


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the worker that the command line names. Gives the exit code."""
    name = argv[0] if argv else ""
    if name not in ENGINES:
        print(usage(name), file=sys.stderr if name not in HELP else sys.stdout)
        return 0 if name in HELP else 2
    entry = ENGINES[name]
    try:
        settings = parse(entry.settings, f"workers {name}", argv[1:], environ)
        logs.configure(f"worker {name}", settings.log_level)
        return uvloop.run(run(name, settings, partial(entry.build, settings)))
    except SettingsError as error:
        print(f"workers {name}: {error}", file=sys.stderr)
        return 2


HELP = ("-h", "--help", "help")


def usage(name: str) -> str:
    """The engines, for someone who named none of them."""
    wrong = f"There is no engine called {name!r}.\n\n" if name and name not in HELP else ""
    engines = "\n".join(f"  {engine:<8} {entry.about}" for engine, entry in ENGINES.items())
    return (
        f"{wrong}usage: python -m workers <engine> [flags]\n\nengines:\n{engines}\n\n"
        "python -m workers <engine> --help shows the flags of an engine."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
