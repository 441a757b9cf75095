import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st
from trtllm_samples import PATHS, cards, job

from sparkray.config.experiment import Workload
from sparkray.engines import load_engine
from sparkray.engines._trtllm.dataset import dataset, jsonl

# Changes only when every dataset_sha256 that was ever stored is given up.
PINNED = "fea833f0aefa84130123b5a7b51f6620ce8983bde965702adb427688748d93c9"


def constant(tokens):
    return lambda _: tokens


def lines(data):
    return [json.loads(line) for line in data.decode().splitlines()]


def test_one_object_a_line_and_no_blank_line():
    data = jsonl(3, 32000, seed=1, inputs=constant(5), outputs=constant(7))
    assert not data.endswith(b"\n\n")
    assert b"" not in data.rstrip(b"\n").split(b"\n")
    assert [entry["task_id"] for entry in lines(data)] == [0, 1, 2]
    assert {len(entry["input_ids"]) for entry in lines(data)} == {5}
    assert {entry["output_tokens"] for entry in lines(data)} == {7}


def test_lengths_may_differ_by_request():
    data = jsonl(3, 32000, seed=1, inputs=lambda i: i + 1, outputs=lambda i: 10 * (i + 1))
    assert [(len(e["input_ids"]), e["output_tokens"]) for e in lines(data)] == [(1, 10), (2, 20), (3, 30)]


def test_the_hash_is_pinned():
    data, digest = dataset(128256, 42, Workload(requests=2, input_tokens=4, output_tokens=3))
    assert digest == hashlib.sha256(data).hexdigest() == PINNED


def test_the_seed_and_the_request_change_the_prompt():
    one, other = (jsonl(2, 32000, seed=seed, inputs=constant(8), outputs=constant(2)) for seed in (1, 2))
    assert one != other
    assert lines(one)[0]["input_ids"] != lines(one)[1]["input_ids"]


@given(vocab=st.integers(64, 300_000), seed=st.integers(0, 2**63), size=st.integers(1, 40))
def test_ids_are_below_the_vocabulary_and_clear_of_its_ends(vocab, seed, size):
    for entry in lines(jsonl(2, vocab, seed=seed, inputs=constant(size), outputs=constant(2))):
        assert min(entry["input_ids"]) >= vocab // 32
        assert max(entry["input_ids"]) < vocab - vocab // 32


def test_special_tokens_of_the_suite_are_out_of_reach():
    lowest_special_above = {"Llama-3-8B": 128000, "Qwen2-1.5B": 151643, "GPT-OSS-120B": 199998, "Phi-3-mini": 32000}
    for card in cards():
        assert card.shape is not None
        top = card.shape.vocab - card.shape.vocab // 32
        assert top <= lowest_special_above.get(card.name, card.shape.vocab)
    mistral = next(c.shape for c in cards() if c.name == "Mistral-7B-v0.3")
    assert mistral is not None
    assert mistral.vocab // 32 > 770


def test_every_version_gets_the_same_file():
    engine = load_engine("trtllm")
    hashes = {engine.command(job(version=v), PATHS).dataset_sha256 for v in ("1.0", "1.1", "1.2", "1.3")}
    assert len(hashes) == 1


def test_lengths_are_drawn_from_the_experiments_spread_alike_everywhere():
    load = Workload(requests=200, input_tokens=100, output_tokens=40, input_spread=30, output_spread=10)
    first, again = dataset(32000, 7, load), dataset(32000, 7, load)
    assert first == again
    entries = lines(first[0])
    assert [(len(e["input_ids"]), e["output_tokens"]) for e in entries] == list(load.lengths(7))
    inputs, outputs = zip(*load.lengths(7), strict=True)
    assert (min(inputs) >= 70, max(inputs) <= 130, len(set(inputs)) > 20) == (True, True, True)
    assert (min(outputs) >= 30, max(outputs) <= 50) == (True, True)
    assert load.lengths(8) != load.lengths(7)
    assert Workload(requests=3, input_tokens=5, output_tokens=4).lengths(1) == ((5, 4),) * 3
