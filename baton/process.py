"""The outermost shell of a process: settings errors become one line and an exit code."""

import contextlib
import ctypes
import resource
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import uvloop

from baton import logs
from baton.settings import ServeSettings, SettingsError, parse

S = TypeVar("S", bound=ServeSettings)

PR_SET_PDEATHSIG = 1  # linux/prctl.h
BAD_SETTINGS = 2  # exit code; supervisord's files name it, so that such a process is not started for ever


def main(
    process: str,
    settings_class: type[S],
    run: Callable[[S], Coroutine[Any, Any, int]],
    argv: Sequence[str],
    environ: Mapping[str, str],
) -> int:
    """Read the settings, set up logging, run until the end. Returns the exit code, `run`'s own where it came to run."""
    try:
        settings = parse(settings_class, process, argv, environ)
        logs.configure(process, settings.log_level)
        _allow_many_sockets()
        if "SUPERVISOR_ENABLED" in environ:
            _end_with_parent()
        return uvloop.run(run(settings))
    except SettingsError as error:
        sys.stderr.write(f"{process}: {error}\n")
        return BAD_SETTINGS


def _allow_many_sockets() -> None:
    """Raise the soft limit of open files to the hard one: each open stream takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems name a hard limit that they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _end_with_parent() -> None:
    """Have the kernel tell this process to stop when supervisord dies: nobody else would (Linux; prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
