"""Model checks of `doctor`: present, complete, and small enough."""

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sparkray.config.model import Host, ModelCard, needed_gib, refusal
from sparkray.machine.finding import Finding, Seen, State, finding, is_spark, needs_gpu
from sparkray.units import gib

_SHOWN = 3
_NO_FILES = {"server": "found by the server itself: not checked", "random": "random weights, made by the engine"}
_POINTER, _POINTER_SIZE = b"version https://git-lfs", 1024
_LENGTH = struct.Struct("<Q")


def memory_gib(seen: Seen) -> float | None:
    """Memory available to models, GiB: the machine's on unified memory, else the GPUs'."""
    if seen.site.simulated:
        return seen.site.memory_gib
    if _separate(seen):
        return sum(device.memory_gib or 0 for device in seen.gpus.devices) or None
    size: float | None = seen.machine.facts.get("memory_gib")
    return size


def _separate(seen: Seen) -> bool:
    """Whether models lie in memory of the GPUs' own, which is not the host's."""
    return needs_gpu(seen.site) and not is_spark(seen.site)


def memory(seen: Seen, available_gib: float | None) -> Finding:
    """Available memory against the largest model's need."""
    total = seen.machine.facts.get("memory_gib")
    known = [value for value in (available_gib, total) if value is not None]
    value = " of ".join(f"{number:.1f}" for number in known) + " GiB available"
    if _separate(seen):
        own = memory_gib(seen)
        value = f"host: {value}; GPU: {'unknown' if own is None else f'{own:.1f} GiB'}"
    sizes = {card.name: size for card in seen.cards if (size := needed_gib(card)) is not None}
    if not sizes or memory_gib(seen) is None:
        return finding("memory", "info", value)
    fitting = {card.name for card in seen.cards if refusal(card, _host(seen)) is None} & set(sizes)
    if not fitting:
        return finding("memory", "stop", f"{value}: no model of the sweep fits", "other_models")
    largest = max(fitting, key=lambda name: sizes[name])
    return finding("memory", "good", f"{value}; the largest that fits, {largest}, has {sizes[largest]:.1f} GiB")


def models(seen: Seen) -> list[Finding]:
    """One finding for all models, and one for each."""
    each = [_model(seen, card) for card in seen.cards]
    if not each:
        return []
    ready = [one for one in each if one.state in ("good", "info")]
    state: State = "good" if len(ready) == len(each) else "warn" if ready else "stop"
    value = f"{len(ready)} of {len(each)} can run"
    return [finding("models", state, value, "" if state == "good" else "fix_each"), *each]


def _host(seen: Seen) -> Host:
    return Host(seen.site.engine, memory_gib(seen), f"site {seen.site.name}")


def _model(seen: Seen, card: ModelCard) -> Finding:
    report = partial(finding, f"model {card.name}")
    if (reason := refusal(card, _host(seen))) is not None:
        value = reason.removeprefix(f"{card.name}: ")
        return report("warn", value, "instead" if card.instead else "leave_out", model=card.instead)
    if card.weights.kind == "checkpoint":
        checkpoint = _checkpoint(seen, card, report)
        doubts = f"; not verified in its card: {'; '.join(card.unverified)}" if card.unverified else ""
        return replace(checkpoint, value=checkpoint.value + doubts)
    if card.weights.kind == "file":
        path = Path(card.weights.path)
    elif card.weights.kind in _NO_FILES or seen.cache is None:
        return report("info", _NO_FILES.get(card.weights.kind, f"of the package {card.weights.package}"))
    else:
        path = seen.cache / "models" / Path(card.weights.member).name
    if path.is_file():
        return report("good", str(path))
    if card.weights.kind == "wheel":
        return report("info", f"missing: the first sweep downloads {card.weights.package}")
    return report("warn", f"{path} does not exist", "restore")


def _checkpoint(seen: Seen, card: ModelCard, report: Callable[..., Finding]) -> Finding:
    if seen.site.models_root == "double":
        return report("info", "made here, without weights, for the simulation")
    folder = Path(seen.site.models_root) / card.weights.path
    lacking = missing(folder, weights=not seen.site.simulated)
    if not lacking:
        return report("good", str(folder))
    more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
    parts = f"{folder} lacks {', '.join(lacking[:_SHOWN])}{more}"
    return report(
        "warn",
        parts if folder.is_dir() else f"{folder} does not exist",
        "download",
        repository=card.hf_id or "the checkpoint",
    )


def missing(folder: Path, *, weights: bool = True) -> list[str]:
    """What a checkpoint's folder lacks, as text; nothing when it is complete.

    Args:
        folder: A Hugging Face checkpoint: config, tokenizer, weights as safetensors or PyTorch files, with an index that
            names the shards when there are several.
        weights: Whether to ask for more than its configuration.
    """
    if not (folder / "config.json").is_file():
        return ["config.json"]
    if not weights:
        return []
    lacking = [] if any(folder.glob("tokenizer*")) else ["tokenizer"]
    indices = sorted(folder.glob("*.index.json"))
    sets = [_shards_missing(folder, index) for index in indices] or [_single_missing(folder)]
    return lacking + min(sets, key=len)


def _shards_missing(folder: Path, index: Path) -> list[str]:
    """Shards that an index names and that are not whole."""
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return [f"{index.name} (unreadable)"]
    return [problem for shard in names if (problem := _file_problem(folder / str(shard)))]


def _single_missing(folder: Path) -> list[str]:
    """Weights without an index."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    return [problem for file in files if (problem := _file_problem(file))] if files else ["weights"]


def _file_problem(path: Path) -> str | None:
    """Defect of one weights file; None when it is complete as far as its header shows."""
    try:
        size = path.stat().st_size
        if size == 0:
            return f"{path.name} (empty)"
        with path.open("rb") as file:
            head = file.read(len(_POINTER))
            if size < _POINTER_SIZE and head == _POINTER:
                return f"{path.name} (a Git LFS pointer)"
            if path.suffix != ".safetensors":
                return None
            file.seek(0)
            wanted = _safetensors_size(file.read)
    except OSError:
        return path.name
    if wanted is None:
        return f"{path.name} (no safetensors header)"
    return f"{path.name} ({gib(size):.2f} of {gib(wanted):.2f} GiB)" if size < wanted else None


def _safetensors_size(read: Callable[[int], bytes]) -> int | None:
    """Size of a safetensors file by its header: 8 bytes of length, the header, the tensors; None for another format."""
    try:
        (length,) = _LENGTH.unpack(read(_LENGTH.size))
        header: dict[str, Any] = json.loads(read(min(length, 1 << 28)))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
    return int(_LENGTH.size + length + max(ends, default=0))
