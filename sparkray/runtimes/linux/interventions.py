"""What other clients of Docker did to a container while it ran, from Docker's own events and its description.

Docker keeps the last 256 events, of all its containers together: what was done before those is not seen.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparkray.units import NS_PER_S


@dataclass(frozen=True)
class Event:
    """One of a container: what happened, Docker's attributes of it, and its time, ns."""

    action: str
    attributes: Mapping[str, str]
    t_ns: int

    @classmethod
    def of(cls, reported: Mapping[str, Any]) -> "Event":
        """As Docker reports it."""
        attributes = reported.get("Actor", {}).get("Attributes", {})
        return cls(str(reported.get("Action")), attributes, int(reported.get("timeNano") or 0))


def end_by_another_client(events: Sequence[Event], *, removed: bool, signalled: bool) -> str:
    """Who else ended a container, by its events; empty where nothing is known of that.

    Args:
        events: Oldest first.
        removed: Whether it is gone.
        signalled: Whether this process had signals sent to it.
    """
    actions = [event.action for event in events]
    killed = "kill" in actions and not signalled
    if removed or "destroy" in actions:
        return f"another client of Docker {'killed and removed' if killed else 'removed'} its container"
    if "restart" in actions or actions.count("start") > 1:
        return "another client of Docker restarted its container"
    if killed:
        return "another client of Docker stopped or killed its container"
    return ""


def interventions(
    events: Sequence[Event], before: Mapping[str, Any], after: Mapping[str, Any], *, signalled: bool
) -> dict[str, tuple[str, ...]]:
    """What was done to a container that ended by itself.

    Args:
        events: Oldest first.
        before: What `docker inspect` had at its start.
        after: The same at its end.
        signalled: Whether this process had signals sent to it.

    Returns:
        `changed`: what makes it another run than was planned. `entered`: what may have disturbed it. In words; without
        the key where there is nothing.
    """
    actions = Counter(event.action.partition(":")[0] for event in events)
    changed = [*_settings(before, after), *_pauses(events)]
    if actions["update"] and not changed:
        changed.append("updated, and set back")
    if signals := [event.attributes.get("signal", "?") for event in events if event.action == "kill"]:
        changed += [] if signalled else [f"sent signal {', '.join(signals)}"]
    entered = []
    # the image's own check of its health is an exec too
    if actions["exec_start"] and not after.get("Config", {}).get("Healthcheck"):
        entered.append(f"docker exec, {actions['exec_start']} times")
    if actions["extract-to-dir"]:
        entered.append(f"docker cp into it, {actions['extract-to-dir']} times")
    both = {"changed": tuple(changed), "entered": tuple(entered)}
    return {name: words for name, words in both.items() if words}


def _settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Differences of the configuration, as after `docker update` or `docker network connect`."""
    old, new = before.get("HostConfig") or {}, after.get("HostConfig") or {}
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            yield f"{name} from {old[name]!r} to {new[name]!r}"
    one, other = (sorted((state.get("NetworkSettings") or {}).get("Networks") or {}) for state in (before, after))
    if one != other:
        yield f"networks from {', '.join(one) or 'none'} to {', '.join(other) or 'none'}"


def _pauses(events: Sequence[Event]) -> Iterator[str]:
    """How long it was paused in all."""
    paused_ns, began, times = 0, 0, 0
    for event in events:
        if event.action == "pause":
            began, times = event.t_ns, times + 1
        elif event.action in ("unpause", "die") and began:
            paused_ns, began = paused_ns + event.t_ns - began, 0
    if times:
        yield f"paused {f'{times} times, ' if times > 1 else ''}for {paused_ns / NS_PER_S:.1f} s"
