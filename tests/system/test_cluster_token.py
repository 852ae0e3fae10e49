"""The secret that lets processes of one fleet know each other."""

import pytest

from tests.processes import MODEL, Fleet, Processes, start_fleet, text_of

TOKEN = {"BATON_CLUSTER_TOKEN": "a-secret-that-all-share"}


@pytest.mark.parametrize("what", ["controller", "api_server", "workers fake"])
def test_no_process_opens_to_the_network_without_a_secret(processes: Processes, what: str) -> None:
    """`--host 0.0.0.0` without a cluster token ends with code 2 and a sentence that names the remedy."""
    process = processes.make(what, "--host", "0.0.0.0").start()
    assert process.wait() == 2
    assert "BATON_CLUSTER_TOKEN" in process.log
    assert "Traceback" not in process.log


def test_a_fleet_with_a_secret_works_and_keeps_strangers_out(processes: Processes) -> None:
    """With one token everywhere all works, on every interface; other workers and callers are refused, and told why."""
    with start_fleet(processes, "--api-keys", "sk-test", env=TOKEN) as fleet:
        fleet.headers = {"authorization": "Bearer sk-test"}
        fleet.http.headers.update(fleet.headers)
        worker = fleet.make_worker("a", "--host", "0.0.0.0").serve()
        fleet.until_served("a")
        assert text_of(fleet.ask("hi"))

        for stranger in (
            fleet.make_worker("b", env={"BATON_CLUSTER_TOKEN": "another-secret"}),
            fleet.make_worker("b", env={"BATON_CLUSTER_TOKEN": ""}),
        ):
            stranger.serve().until_it_says("refuses this worker's cluster token")
        assert fleet.ask("hi", model="b").status_code == 404

        fleet.headers = {}
        for server, route in ((fleet.controller, "/fleet"), (worker, "/v1/models"), (fleet.api, "/v1/models")):
            with fleet.client(server) as http:
                assert http.get(route).status_code in (401, 403), server.what
        fleet.headers = {"authorization": f"Bearer {TOKEN['BATON_CLUSTER_TOKEN']}"}
        assert [each["models"][0]["name"] for each in fleet.picture()["workers"]] == [MODEL]
        fleet.until_idle()


def test_a_token_in_a_file_is_read(processes: Processes) -> None:
    """A worker that has its token in a file of mode 0600 joins; a file that others can read is refused with code 2."""
    with start_fleet(processes, env=TOKEN) as fleet:
        file = processes.folder / "token"
        file.write_text(TOKEN["BATON_CLUSTER_TOKEN"] + "\n")
        file.chmod(0o600)
        worker = fleet.make_worker("a", "--cluster-token-file", str(file), env={"BATON_CLUSTER_TOKEN": ""})
        worker.serve()
        fleet.until_served("a")

        file.chmod(0o644)
        careless = Fleet(processes, fleet.controller, fleet.api).make_worker("b", "--cluster-token-file", str(file))
        assert careless.start().wait() == 2
        assert "chmod 600" in careless.log
