"""The log: one line per event, on standard error."""

import logging
import re
from collections.abc import Iterator

import pytest

from baton.logs import configure


@pytest.fixture(autouse=True)
def _root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_a_line_has_time_level_process_message(capsys: pytest.CaptureFixture[str]) -> None:
    """A person and `grep` can both read it."""
    configure("controller", "info")
    logging.getLogger("controller.links").warning("worker %s is gone", "http://a")
    err = capsys.readouterr().err
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d WARNING controller: worker http://a is gone\n", err)


def test_the_level_is_honoured(capsys: pytest.CaptureFixture[str]) -> None:
    """What is below the level is not written; chatty libraries are quiet below warnings."""
    configure("controller", "info")
    logging.getLogger("controller").debug("no")
    logging.getLogger("uvicorn.error").info("no")
    logging.getLogger("httpx").info("no")
    assert capsys.readouterr().err == ""
