"""Stopping and starting the embedded AWS keeps the deployment and its data."""

from support.platform import REGIONS, Deployed


def test_data_survive_stop_and_start(deployed: Deployed) -> None:
    with deployed.api(REGIONS[0], deployed.token()) as client:
        written = client.post("/fhir/Patient", json={"resourceType": "Patient"})
    assert deployed.hdr("down", "--keep").returncode == 0
    assert deployed.emulator.running() is False
    assert deployed.hdr("status").returncode != 0
    finished = deployed.hdr("up")
    assert finished.returncode == 0, finished.stderr
    with deployed.api(REGIONS[1], deployed.token()) as client:
        assert client.get(f"/fhir/Patient/{written.json()['id']}").json() == written.json()
