"""Data sheets of GPUs and machines, found by the names that people give them. Pure; `conf/gpus.csv` holds them.

A name is never taken for a similar one: an H100 PCIe has 0.6 times the bandwidth of an H100 SXM. A name that leaves the form
open (`H100`, `GH200`) has a row of its own with the greatest numbers of its forms, so that no bound is too low.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sparkray.config.site import Device

_MAKERS = frozenset({"nvidia", "geforce", "amd", "apple", "quadro", "graphics", "corporation"})
_SIZE = re.compile(r" (\d+) ?gi?b$")
_LIKE, _MOST_NEAR = 0.5, 4


@dataclass(frozen=True)
class Gpu:
    """One row of `conf/gpus.csv`.

    `name` as NVML or its maker spells it. `kind` groups what is sold for one purpose. `site` describes its machine.
    `checked`: whether the bandwidth was compared with a second public source; else only `source` stands for it.
    """

    name: str
    aliases: tuple[str, ...]
    kind: str
    site: str
    device: Device
    source: str
    checked: bool

    @property
    def keys(self) -> frozenset[str]:
        """Every name of it in the form of `plain`."""
        return frozenset(plain(name) for name in (self.name, *self.aliases))


def gpu_of(row: Mapping[str, str]) -> Gpu:
    """A row of the file, its cells as text.

    Raises:
        ValueError, KeyError: A value that is not a number, or a missing column.
    """
    numbers = ("bandwidth_gb_s", "memory_gib", "compute_tflops")
    device = Device(**{name: float(row[name]) for name in numbers if row[name]})
    aliases = tuple(filter(None, row["aliases"].split("|")))
    return Gpu(row["name"], aliases, row["kind"], row["site"], device, row["source"], row["checked"] == "yes")


def plain(name: str) -> str:
    """A name without case, makers, trade marks and signs between its words: `NVIDIA A100-SXM4-80GB` is `a100 sxm4 80gb`."""
    words = re.sub(r"\((tm|r)\)|[™®]", " ", name.casefold())
    words = re.sub(r"\b(rtx|gtx|rx)(?=\d)", r"\1 ", words)
    return " ".join(word for word in re.split(r"[\s_/,()-]+", words) if word and word not in _MAKERS)


def find(gpus: Iterable[Gpu], name: str) -> Gpu | None:
    """The GPU that a name means; None for a name that the file lacks."""
    listed, key = list(gpus), plain(name)
    found = next((gpu for gpu in listed if key in gpu.keys), None)
    size = _SIZE.search(key)
    if found is None and size is not None:  # `RTX 3090 24GB`: the size belongs to its only form
        found = next((gpu for gpu in listed if key[: size.start()] in gpu.keys), None)
        memory = None if found is None else found.device.memory_gib
        return found if memory in (None, float(size[1])) else None
    return found


def near(gpus: Sequence[Gpu], name: str) -> list[str]:
    """Names of the GPUs that are most alike, all of one kind, the most similar first; of equals the first in the file."""
    words = plain(name).split()
    scores = {gpu.name: max(_likeness(words, key.split()) for key in gpu.keys) for gpu in gpus}
    likely = sorted((gpu for gpu in gpus if scores[gpu.name] >= _LIKE), key=lambda gpu: -scores[gpu.name])
    return [gpu.name for gpu in likely if gpu.kind == likely[0].kind][:_MOST_NEAR]


def _likeness(words: Sequence[str], others: Sequence[str]) -> float:
    """Mean similarity of each word with the nearest of the others."""
    best = [max(difflib.SequenceMatcher(None, word, other).ratio() for other in others) for word in words]
    return sum(best) / len(best) if best else 0.0
