"""What an effective state shows of each Docker option. Pure.

A state is what `runtimes.linux.readback.effective_state` reads: nothing here asks a container what it believes. What an
option must show is part of its declaration (`docker.DockerOptions`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparkray.config.docker import DockerOptions, cannot_act, flag_of, given, words_of
from sparkray.config.trace import MISSING, Expectation


@dataclass(frozen=True)
class Shown:
    """What a state shows of one option. `acts`: it has what was asked, it has something else, or (None) it is unknown."""

    option: str
    flag: str
    acts: bool | None
    got: str

    @property
    def sentence(self) -> str:
        """Flag, asked and got, for evidence."""
        return f"asked {self.flag}, got {self.got}"


def readings(options: DockerOptions, state: Mapping[str, Any]) -> tuple[Shown, ...]:
    """What the state shows of every option that can act and leaves a trace, in the order of declaration.

    Several fields may show one option: one that denies it decides; without one, one that confirms it does.
    """
    idle = cannot_act(options)
    expected = {name: expectations(name, options) for name, _, _ in given(options) if name not in idle}
    return tuple(_shown(name, words_of(name, options), wanted, state) for name, wanted in expected.items() if wanted)


def _shown(name: str, words: str, expected: tuple[Expectation, ...], state: Mapping[str, Any]) -> Shown:
    judged = [(e, value, e.holds(value)) for e in expected if (value := e.value(state)) is not MISSING]
    decided = sorted((j for j in judged if j[2] is not None), key=lambda j: bool(j[2]))
    if not decided:
        return Shown(name, words, None, "nothing that could be read back")
    expectation, value, holds = decided[0]
    return Shown(name, words, holds, expectation.wanted if holds else expectation.shown(value))


def expectations(name: str, options: DockerOptions) -> tuple[Expectation, ...]:
    """What a state must show of an option that was given; empty where nothing would.

    Raises:
        KeyError: No option has that name.
    """
    trace = flag_of(name).trace
    return () if trace is None else tuple(trace.rule(getattr(options, name), options))
