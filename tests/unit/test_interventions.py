"""What other clients of Docker did to a container, in words, and what the check of the run makes of it."""

import pytest

from sparkray.runtimes.linux.interventions import Event, interventions

PLAIN = {
    "HostConfig": {"Memory": 0, "NanoCpus": 0},
    "Config": {},
    "NetworkSettings": {"Networks": {"bridge": {}}},
}
START = (Event("create", {}, 1), Event("start", {}, 2))


def event(action: str, t_s: float = 3.0, **attributes: str) -> Event:
    return Event(action, attributes, int(t_s * 1e9))


def with_settings(**settings: object) -> dict[str, object]:
    return {**PLAIN, "HostConfig": {**PLAIN["HostConfig"], **settings}}


def test_an_ordinary_end_says_nothing() -> None:
    assert interventions((*START, event("die", exitCode="0")), PLAIN, PLAIN, signalled=False) == {}
    assert interventions((*START, event("kill", signal="15"), event("die")), PLAIN, PLAIN, signalled=True) == {}


@pytest.mark.parametrize(
    ("events", "after", "changed"),
    [
        ((event("update"),), with_settings(Memory=64), ("Memory from 0 to 64",)),
        ((event("update"),), PLAIN, ("updated, and set back",)),
        ((), with_settings(NanoCpus=5), ("NanoCpus from 0 to 5",)),  # whose event Docker has forgotten
        ((event("pause", 3), event("unpause", 5.5)), PLAIN, ("paused for 2.5 s",)),
        (
            (event("pause", 3), event("unpause", 4), event("pause", 5), event("die", 6.5)),
            PLAIN,
            ("paused 2 times, for 2.5 s",),
        ),
        ((event("kill", signal="19"), event("kill", signal="18")), PLAIN, ("sent signal 19, 18",)),
        ((), {**PLAIN, "NetworkSettings": {"Networks": {}}}, ("networks from bridge to none",)),
    ],
)
def test_what_makes_it_another_run(
    events: tuple[Event, ...], after: dict[str, object], changed: tuple[str, ...]
) -> None:
    assert interventions((*START, *events), PLAIN, after, signalled=False) == {"changed": changed}


def test_commands_inside_are_reported_but_for_the_images_own() -> None:
    events = (event("exec_create: sh"), event("exec_start: sh"), event("exec_die"), event("extract-to-dir"))
    entered = interventions(events, PLAIN, PLAIN, signalled=False)["entered"]
    assert entered == ("docker exec, 1 times", "docker cp into it, 1 times")
    checked = {**PLAIN, "Config": {"Healthcheck": {"Test": ["CMD", "true"]}}}
    assert interventions(events[:3], checked, checked, signalled=False) == {}
