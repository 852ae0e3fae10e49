"""The cluster token: who is admitted, and who may listen without one."""

from pathlib import Path

import pytest

from baton.auth import ClusterToken, cluster_token, is_loopback
from baton.settings import ServeSettings, SettingsError


def test_only_the_secret_is_admitted() -> None:
    """The scheme may be written in any case; the secret must be exact."""
    token = ClusterToken("s3cret")
    assert token.admits("Bearer s3cret")
    assert token.admits("bearer s3cret")
    wrong = [None, "", "s3cret", "Bearer", "Bearer ", "Bearer S3cret", "Bearer s3cre", "Bearer s3cret2", "Basic s3cret"]
    assert not any(token.admits(header) for header in wrong)


@pytest.mark.parametrize("header", ["Bearer \xe9\xff", "Bearer \u4e2d\u6587", "\xff\xff", "Bearer \udcff"])
def test_odd_characters_are_only_wrong(header: str) -> None:
    """A header outside ASCII is a wrong secret, not an exception."""
    assert not ClusterToken("s3cret").admits(header)


def test_without_a_token_all_are_known() -> None:
    """No token: everybody is admitted, and nothing is sent."""
    token = ClusterToken("")
    assert not token.is_set
    assert token.admits(None)
    assert token.headers() == {}


def test_headers_are_admitted_by_the_same_token() -> None:
    """What one process sends, another one with the same token takes."""
    token = ClusterToken("s3cret")
    assert token.admits(token.headers()["authorization"])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback(host: str) -> None:
    """Addresses of this machine alone, in flags and in URLs."""
    assert is_loopback(host)
    assert not cluster_token(ServeSettings(host=host)).is_set


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "example.com", "127.0.0.1.evil.com", "2130706433"])
def test_open_to_a_network_needs_a_secret(host: str) -> None:
    """Without a token nobody listens beyond loopback, unless told so; the sentence says what to do."""
    with pytest.raises(SettingsError, match=r"BATON_CLUSTER_TOKEN.*127\.0\.0\.1.*--insecure"):
        cluster_token(ServeSettings(host=host))
    cluster_token(ServeSettings(host=host, insecure=True))
    cluster_token(ServeSettings(host=host), guarded=True)
    assert cluster_token(ServeSettings(host=host, cluster_token="x")).admits("Bearer x")


def test_the_token_may_be_in_a_file(tmp_path: Path) -> None:
    """The file's line is the token; the variable goes before it."""
    file = tmp_path / "token"
    file.write_text("from-file\n")
    file.chmod(0o600)
    assert cluster_token(ServeSettings(cluster_token_file=str(file))).admits("Bearer from-file")
    both = ServeSettings(cluster_token_file=str(file), cluster_token="from-variable")
    assert cluster_token(both).admits("Bearer from-variable")


def test_an_empty_file_is_no_token(tmp_path: Path) -> None:
    """A token file without a token is an error, not an open door."""
    file = tmp_path / "token"
    file.write_text("\n")
    file.chmod(0o600)
    with pytest.raises(SettingsError, match="empty"):
        cluster_token(ServeSettings(cluster_token_file=str(file)))


@pytest.mark.parametrize("secret", ["two\nlines", "with blank", "tab\t", "p\xe4ss", "\x7f"])
def test_a_token_must_fit_into_a_header(secret: str) -> None:
    """A token that no header can carry unchanged is refused at the start."""
    with pytest.raises(SettingsError, match="cluster token"):
        cluster_token(ServeSettings(cluster_token=secret))
