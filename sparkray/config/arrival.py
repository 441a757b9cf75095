"""When requests of a load are sent: closed loop, constant rate, Poisson process, or the times of a trace. Pure."""

import random
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from sparkray.config.boundary import STRICT

ArrivalKind = Literal["closed", "constant", "poisson", "trace"]


@dataclass(frozen=True)
class Arrival:
    """An arrival process.

    Attributes:
        kind: `closed` sends a request when an earlier one has ended; `constant` and `poisson` send at `rate_req_s`,
            evenly or with exponential gaps; `trace` sends at `offsets_s`.
        rate_req_s: Requests per second; of `constant` and `poisson` only.
        offsets_s: Seconds from the start of the load, ascending, one for each counted request; of `trace` only.

    Raises:
        ValueError: A rate or offsets that the kind does not have, or lacks.
    """

    __pydantic_config__ = STRICT

    kind: ArrivalKind = "closed"
    rate_req_s: Annotated[float, Gt(0)] | None = None
    offsets_s: tuple[Annotated[float, Ge(0)], ...] = ()

    def __post_init__(self) -> None:
        if (self.kind in ("constant", "poisson")) != (self.rate_req_s is not None):
            raise ValueError(
                f"rate_req_s {self.rate_req_s}: arrivals of kind constant and poisson have one, not others"
            )
        if (self.kind == "trace") != bool(self.offsets_s):
            raise ValueError(f"offsets_s: arrivals of kind trace have them, not others; {self.kind} was given")
        late = next(((a, b) for a, b in pairwise(self.offsets_s) if b < a), None)
        if late is not None:
            raise ValueError(f"offsets_s must ascend: {late[1]:g} follows {late[0]:g}")

    def offsets(self, count: int, seed: int) -> tuple[float, ...] | None:
        """Seconds from the start at which each of `count` requests is due; None for a closed loop.

        The first request of a rate is due at 0. The same seed gives the same times, in every arm.

        Raises:
            ValueError: A trace has another number of offsets.
        """
        if self.kind == "closed":
            return None
        if self.kind == "trace":
            if len(self.offsets_s) != count:
                raise ValueError(f"the trace has {len(self.offsets_s)} offsets for {count} requests")
            return self.offsets_s
        rate = self.rate_req_s or 0.0
        if self.kind == "constant":
            return tuple(index / rate for index in range(count))
        rng = random.Random(f"sparkray arrivals {seed}")  # noqa: S311 - reproducible, not secret
        gaps = (rng.expovariate(rate) for _ in range(count - 1))
        return tuple(accumulate(gaps, initial=0.0))[:count]
