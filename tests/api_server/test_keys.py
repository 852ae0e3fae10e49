"""API keys."""

import pytest

from api_server.keys import ApiKeys


def test_one_of_the_keys_is_needed() -> None:
    """Each key is admitted, with any case of the scheme and blanks around; nothing else is."""
    keys = ApiKeys(["one", "two"])
    assert all(keys.admits(header) for header in ("Bearer one", "bearer two", "BEARER  two "))
    assert not any(
        keys.admits(header) for header in (None, "", "one", "Bearer", "Bearer ", "Bearer onetwo", "Basic one")
    )


def test_without_keys_all_are_admitted() -> None:
    """A server without keys is open."""
    assert ApiKeys([]).admits(None)


@pytest.mark.parametrize("header", ["Bearer \u4e2d", "Bearer \udcff", "\xff \xff"])
def test_odd_characters_are_only_wrong(header: str) -> None:
    """A header outside ASCII is a wrong key, not an exception."""
    assert not ApiKeys(["one"]).admits(header)


def test_a_key_outside_ascii_works() -> None:
    """A client sends such a key as UTF-8, and a header shows these bytes as Latin-1."""
    assert ApiKeys(["schl\xfcssel"]).admits("Bearer " + "schl\xfcssel".encode().decode("latin-1"))


def test_keys_are_not_shown() -> None:
    """No key is in a repr or an attribute."""
    assert "one" not in repr(vars(ApiKeys(["one"])))
