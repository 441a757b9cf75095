"""What a Docker engine tells of itself stands in the machine's fingerprint."""

from sparkray.docker_engine import versions_of
from sparkray.machine.fingerprint import Machine

TOLD = {
    "Version": "28.3.3",
    "Components": [
        {"Name": "Engine", "Version": "28.3.3"},
        {"Name": "containerd", "Version": "1.7.27"},
        {"Name": "runc", "Version": "1.2.5"},
        {"Name": "docker-init", "Version": "0.19.0"},
    ],
}


def test_versions_are_those_of_the_engine_and_of_what_it_runs_containers_by() -> None:
    assert versions_of(TOLD) == {"docker": "28.3.3", "containerd": "1.7.27", "runc": "1.2.5"}


def test_what_an_engine_does_not_tell_is_left_out() -> None:
    assert versions_of({"Version": "20.10.24", "Components": None}) == {"docker": "20.10.24"}
    assert versions_of({}) == {}


def test_a_machine_with_an_engine_is_the_same_machine() -> None:
    machine = Machine("box", ("NVIDIA GB10",), ("GPU-1",), {"kernel": "6.11"})
    found = machine.running(versions_of(TOLD))
    assert found.facts == {"kernel": "6.11", "docker": "28.3.3", "containerd": "1.7.27", "runc": "1.2.5"}
    assert (found.host, found.site, found.lock_keys) == (machine.host, machine.site, machine.lock_keys)
    assert machine.facts == {"kernel": "6.11"}
