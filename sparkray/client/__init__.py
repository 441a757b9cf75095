"""Load generators: requests to an OpenAI-compatible server from outside its environment, alike in every arm.

`run_load` starts a generator as a process of its own, pinned to CPUs that the engine does not use, and returns one row per
request that was sent. A failed request is a row with an error. `builtin` is sparkray's own
generator; `aiperf` is NVIDIA's (extra `sparkray[aiperf]`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sparkray.config.arrival import Arrival
from sparkray.errors import ConfigError, UnknownNameError
from sparkray.records import Request

Prompt = str | Sequence[int]
Ended = Literal["complete", "stopped", "saturated"]
CLIENTS = ("builtin", "aiperf")


@dataclass(frozen=True)
class Target:
    """The server under load.

    Attributes:
        url: `http://HOST:PORT`, with or without `/v1`.
        model: Name of the model as the server knows it.
        endpoint: `completions` takes text or token ids, `chat` text alone.
        request_options: Keys of every request's body beside those that the client sets; null leaves a key out.
        headers: HTTP headers of every request, such as `Authorization`.
    """

    url: str
    model: str
    endpoint: Literal["completions", "chat"] = "completions"
    request_options: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    """What is sent. Times in s.

    Attributes:
        prompts: One per request, the `warmup` ones first, as text or token ids.
        output_tokens: `max_tokens` of every request, or of each.
        concurrency: Requests in flight of a closed loop; otherwise the most there may be, None for no bound.
        arrival: When the counted requests are sent.
        warmup: How many of the prompts are warm-up. The first goes alone, the others at `concurrency`; all have ended
            before the load begins.
        timeout_s: From a request's submission to its end.
        seed: Fixes the times of a Poisson process.
        most_in_flight: Unanswered requests at which the server counts as saturated and the load ends; None for no such
            bound. Of a rate or a trace only.
        most_latency_s: As many counted requests in a row as are in flight, at least 4, longer than that saturate the server
            likewise. Of a closed loop only.
    """

    prompts: Sequence[Prompt]
    output_tokens: int | Sequence[int]
    concurrency: int | None = 1
    arrival: Arrival = field(default_factory=Arrival)
    warmup: int = 0
    timeout_s: float = 600.0
    seed: int = 0
    most_in_flight: int | None = None
    most_latency_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.warmup <= len(self.prompts):
            raise ConfigError(f"warmup {self.warmup} is not between 0 and the {len(self.prompts)} prompts of the load")
        if not isinstance(self.output_tokens, int) and len(self.output_tokens) != len(self.prompts):
            raise ConfigError(f"output_tokens has {len(self.output_tokens)} values for {len(self.prompts)} prompts")
        if self.concurrency is None and self.arrival.kind == "closed":
            raise ConfigError("a closed loop needs a concurrency", "Give one of 1 or more")
        if self.concurrency is not None and self.concurrency < 1:
            raise ConfigError(f"concurrency {self.concurrency} is not 1 or more")


@dataclass(frozen=True)
class LoadResult:
    """What a load left.

    Attributes:
        requests: One per request that was sent, by index. Their `error` says what went wrong.
        client_cpu_s: CPU seconds of the client's process.
        max_rate_share: Chunks of the busiest second over those that the client could have taken, by its own CPU time per
            chunk in this load (check `client`). None of a client whose limit is not known.
        notes: What a reader of the numbers should know, in words.
        ended: `complete`, `stopped` from outside, or `saturated`.
        client: Name and version of the client.
        models: Names of the model as the server's answers report it.
    """

    requests: tuple[Request, ...]
    client_cpu_s: float
    max_rate_share: float | None
    notes: tuple[str, ...]
    ended: Ended
    client: str
    models: tuple[str, ...] = ()


def run_load(
    target: Target,
    load: Load,
    *,
    client: str = "builtin",
    cpus: Sequence[int] | None = None,
    stop_fd: int | None = None,
) -> LoadResult:
    """Put a server under load and wait for the end.

    Args:
        target: The server.
        load: The requests.
        client: Which generator, one of `CLIENTS`.
        cpus: CPUs that the generator may use; None leaves them to the kernel.
        stop_fd: A descriptor that becomes readable to end the load at once (`runtimes.Stop.fd`, a pidfd of the server); the
            rows so far are returned.

    Raises:
        ConfigError: The load does not fit the target.
        UnknownNameError: There is no such generator.
        ClientFailedError: The generator itself failed.
    """
    if client not in CLIENTS:
        raise UnknownNameError("load generator", client, list(CLIENTS))
    if target.endpoint == "chat" and not all(isinstance(prompt, str) for prompt in load.prompts):
        raise ConfigError("prompts of token ids need the endpoint completions; chat takes text")
    if client == "aiperf":
        from sparkray.client._aiperf import run  # noqa: PLC0415 - one generator is imported, the one that is used
    else:
        from sparkray.client._builtin import run  # noqa: PLC0415
    return run(target, load, cpus=cpus, stop_fd=stop_fd)
