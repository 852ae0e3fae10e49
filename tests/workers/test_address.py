import pytest

from baton.settings import SettingsError
from workers.address import announced, route_to

CONTROLLER = "http://controller:21001"


def no_route(_: str) -> str:
    raise AssertionError("the route is not asked for")


def test_the_listening_address_by_default() -> None:
    """A worker that listens on one address is reached there."""
    assert announced("", "10.0.0.5", "http://10.0.0.5:21002", CONTROLLER, no_route) == "http://10.0.0.5:21002"


@pytest.mark.parametrize(
    ("host", "own", "address"), [("0.0.0.0", "10.0.0.7", "10.0.0.7"), ("::", "fd00::1", "[fd00::1]")]
)
def test_all_interfaces_give_the_one_that_reaches_the_controller(host: str, own: str, address: str) -> None:
    """With a wildcard host the address is that of the interface towards the controller."""
    listening = f"https://{host if host[0] == '0' else '[::]'}:21002"
    assert announced("", host, listening, CONTROLLER, lambda _: own) == f"https://{address}:21002"


def test_a_given_address_wins() -> None:
    """What the operator says is used, without its last slash."""
    assert announced("http://gpu1:9/", "0.0.0.0", "http://0.0.0.0:1", CONTROLLER, no_route) == "http://gpu1:9"


@pytest.mark.parametrize(
    "given", ["http://0.0.0.0:1", "http://[::]:1", "gpu1:9", "http://a/b", "http://u@h:1", "ftp://h"]
)
def test_useless_addresses_are_refused(given: str) -> None:
    """Addresses that others cannot use are refused with a sentence."""
    with pytest.raises(SettingsError, match="--worker-address"):
        announced(given, "127.0.0.1", "http://127.0.0.1:1", CONTROLLER, no_route)


def test_no_route_asks_for_the_flag() -> None:
    """Where no interface reaches the controller, the operator must say."""

    def fail(_: str) -> str:
        raise OSError("no such host")

    with pytest.raises(SettingsError, match="pass --worker-address"):
        announced("", "0.0.0.0", "http://0.0.0.0:1", CONTROLLER, fail)


def test_loopback_reaches_loopback() -> None:
    """The real route to this machine is this machine."""
    assert route_to("http://127.0.0.1:21001") == "127.0.0.1"
