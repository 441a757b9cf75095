"""The prompts: JSONL as `trtllm-bench --dataset` reads it, made here so that every arm gets the same bytes.

One object a line with `task_id`, `input_ids` and `output_tokens`; no blank line at the end, which the tool would try to
parse. Token ids come from SHAKE-256 of the seed, so they are the same on every machine and in every Python; the lowest
and highest 1/32 of a vocabulary are left out, where models keep their special tokens. With lengths of up to a few
thousand the bias of the modulo (vocabulary / 2^32) is below 1e-4.
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from sparkray.config.experiment import Workload

_SPECIAL_SHARE = 32


def jsonl(count: int, vocab: int, *, seed: int, inputs: Callable[[int], int], outputs: Callable[[int], int]) -> bytes:
    """The dataset.

    Args:
        count: Requests.
        vocab: Size of the vocabulary; every id is below it.
        seed: The same seed gives the same bytes.
        inputs: Index of a request to its prompt's length in tokens.
        outputs: Index of a request to the tokens it must generate.
    """
    margin = vocab // _SPECIAL_SHARE
    span = vocab - 2 * margin
    lines = []
    for index in range(count):
        size = inputs(index)
        stream = hashlib.shake_256(f"sparkray {seed} {index}".encode()).digest(4 * size)
        ids = (np.frombuffer(stream, dtype="<u4") % span + margin).tolist()
        numbers = ",".join(map(str, ids))
        lines.append(f'{{"task_id":{index},"input_ids":[{numbers}],"output_tokens":{outputs(index)}}}')
    return "".join(f"{line}\n" for line in lines).encode()


@lru_cache(maxsize=8)
def dataset(vocab: int, seed: int, load: Workload) -> tuple[bytes, str]:
    """The requests of a load, and their SHA-256. Kept, because a plan asks for the same file once a run."""
    lengths = load.lengths(seed)
    data = jsonl(
        load.requests, vocab, seed=seed, inputs=lambda index: lengths[index][0], outputs=lambda index: lengths[index][1]
    )
    return data, hashlib.sha256(data).hexdigest()
