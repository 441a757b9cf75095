"""Could it be true? Published measurements are never refused, and what the bytes forbid always is."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import card, experiment, measurement, request, shape, site, study
from hypothesis import given
from hypothesis import strategies as st

from sparkray.catalog import Catalog
from sparkray.checks import Evidence, check_names, load_check
from sparkray.checks.roofline import FAR_ABOVE, FAR_BELOW, Load, bound_of, expected_of, judge, kv_bits
from sparkray.config.experiment import Workload
from sparkray.config.model import Shape
from sparkray.config.site import Site
from sparkray.errors import InputError, UnknownNameError
from sparkray.plan import make_plan
from sparkray.records import Verdict

CATALOG = Catalog(Path(__file__).parents[2])
CARDS = {found.name: found for found in CATALOG.cards()}
SPARK = CATALOG.site("dgx-spark")
DISCRETE = CATALOG.site("discrete-gpu")
H100 = replace(SPARK, bandwidth_gb_s=3350, compute_tflops=989, memory_gib=79.6)
CONTEXT = 528.0
"""llama.cpp's batched benchmark: prompts of 512 tokens, 32 generated."""


def shape_of(name: str, **changes: Any) -> Shape:
    found = CARDS[name].shape
    assert found is not None
    return replace(found, **changes)


# Qwen2.5-Coder-7B has the shape of the distilled 7B; Q8_0 is 8 bits with a 16-bit scale for 32 weights.
Q8 = shape_of("DeepSeek-R1-7B", bits_per_weight=8.5)
BF16 = shape_of("DeepSeek-R1-7B")
OSS_120B = shape_of("GPT-OSS-120B")
# 24 layers of 32 experts; everything else as in the larger one.
OSS_20B = replace(
    OSS_120B,
    params_total=20_914_757_184,
    layers=24,
    experts=32,
    sliding_layers=12,
    params_16bit=1_804_459_584,
    params_active=None,
)
BATCHES = (1, 2, 4, 8, 16, 32)
PUBLISHED = [
    (Q8, 1, 29.30),
    *((Q8, *row) for row in zip(BATCHES, (29.24, 54.46, 104.33, 195.67, 335.01, 593.27), strict=True)),
    *((OSS_20B, *row) for row in zip(BATCHES, (81.11, 95.00, 151.90, 254.09, 400.94, 614.82), strict=True)),
    *((OSS_120B, *row) for row in zip(BATCHES, (57.28, 60.35, 95.08, 146.65, 220.02, 312.56), strict=True)),
    *((OSS_120B, *row) for row in zip((*BATCHES, 64), (57.5, 78.4, 107.9, 153.5, 218.5, 318.7, 315.2), strict=True)),
    (BF16, 8, 120.0),
]


@pytest.mark.parametrize(("model", "batch", "throughput"), PUBLISHED)
def test_a_published_measurement_is_plausible(model: Shape, batch: int, throughput: float) -> None:
    found = judge(model, SPARK, load=Load(batch, CONTEXT), throughput_tok_s=throughput)
    assert (found.verdict, found.reasons) == ("plausible", ())


def test_sizes_are_those_of_the_files() -> None:
    assert Q8.weight_bytes / 2**30 == pytest.approx(7.54, abs=0.01)
    assert OSS_20B.weight_bytes / 1e9 == pytest.approx(13.76, abs=0.01)


@pytest.mark.parametrize(
    ("model", "batch", "throughput", "share"),
    [
        (Q8, 1, 29.30, 0.81),  # 220 GB/s of 273
        (BF16, 8, 120.0, 0.78),  # 212 GB/s of 273
    ],
)
def test_shares_of_dense_models(model: Shape, batch: int, throughput: float, share: float) -> None:
    found = judge(model, SPARK, load=Load(batch), throughput_tok_s=throughput)
    assert found.share == pytest.approx(share, abs=0.005)
    assert found.bound_tok_s == pytest.approx(throughput / share, rel=0.01)


def test_routing_is_why_a_20b_can_do_81_at_batch_1() -> None:
    """Were all its weights read, 273 GB/s would allow 21; 4 of 32 experts and no embedding are read."""
    dense = replace(OSS_20B, experts=1, experts_per_token=1)
    assert judge(dense, SPARK, load=Load(1), throughput_tok_s=81.11).verdict == "impossible"
    assert judge(OSS_20B, SPARK, load=Load(1), throughput_tok_s=81.11).verdict == "plausible"


def test_the_study_before_a_72b_at_119() -> None:
    """Twice over: 135 GiB are not there, and 143 GB cannot be read 15 times a second."""
    found = judge(shape_of("Qwen2.5-72B"), SPARK, load=Load(8), throughput_tok_s=119.33)
    assert found.verdict == "impossible"
    assert [reason for reason in found.reasons if "do not fit" in reason]
    assert [reason for reason in found.reasons if "bound" in reason]
    assert found.bound_tok_s == pytest.approx(8 * 273e9 / (2 * (72_706_203_648 - 152_064 * 8192)))


def test_the_study_before_its_120b_at_120_is_for_others_to_doubt() -> None:
    """By physics alone it could be: slower has been measured, and faster. At batch 1 it could not."""
    assert judge(OSS_120B, SPARK, load=Load(8), throughput_tok_s=120.27).verdict == "plausible"
    assert judge(OSS_120B, SPARK, load=Load(1), throughput_tok_s=120.27).verdict == "impossible"


@pytest.mark.parametrize(
    ("throughput", "verdict"),
    [(30, "suspicious"), (45, "suspicious"), (48, "plausible"), (154, "plausible"), (155, "impossible")],
)
def test_both_directions(throughput: float, verdict: str) -> None:
    """A 7B in BF16 at batch 8: the roof is 154.4 tok/s."""
    assert judge(BF16, SPARK, load=Load(8), throughput_tok_s=throughput).verdict == verdict


def test_beyond_what_uneven_routing_explains() -> None:
    roof = expected_of(OSS_120B, SPARK, Load(8)).tok_s
    assert judge(OSS_120B, SPARK, load=Load(8), throughput_tok_s=1.9 * roof).verdict == "plausible"
    found = judge(OSS_120B, SPARK, load=Load(8), throughput_tok_s=2.1 * roof)
    assert (found.verdict, "more than uneven routing explains" in found.reasons[0]) == ("suspicious", True)


def test_tied_embeddings_are_streamed_as_the_output_head() -> None:
    tied = shape_of("Qwen2-1.5B")
    assert tied.step_read(1, 0).dense == tied.weight_bytes
    apart = replace(tied, tied_embeddings=False)
    assert tied.weight_bytes - apart.step_read(1, 0).dense == 2 * tied.vocab * tied.hidden


def test_a_step_of_a_mixture_byte_by_byte() -> None:
    """Experts at 4.25 bits but for their biases, everything else at 16; 4 of 128 a token."""
    read = OSS_120B.step_read(1, 0)
    biases = 36 * 128 * (2 * 2880 + 2880)
    matrices = 36 * 128 * 3 * 2880 * 2880
    assert OSS_120B.expert_params == matrices + biases
    assert read.experts == pytest.approx((matrices * 4.25 / 8 + biases * 2) * 4 / 128)
    assert read.dense == pytest.approx(2 * (116_829_156_672 - matrices - biases - 201_088 * 2880))
    assert shape_of("Mixtral-8x7B").expert_params == 32 * 8 * 3 * 4096 * 14336


def test_experts_follow_from_dimensions_where_the_card_does_not_count() -> None:
    mixtral = shape_of("Mixtral-8x7B")
    assert replace(mixtral, params_active=None).expert_params == mixtral.expert_params


def test_experts_that_a_batch_reaches() -> None:
    assert OSS_120B.experts_reached(1) == pytest.approx(4)
    assert OSS_120B.experts_reached(2) == pytest.approx(4 + 4 * 124 / 128)
    assert OSS_120B.experts_reached(10_000) == pytest.approx(128)
    all_read = OSS_120B.step_read(10_000, 0)
    assert all_read.dense + all_read.experts == pytest.approx(OSS_120B.weight_bytes - 2 * OSS_120B.embedding_params)


def test_parameters_that_a_token_uses() -> None:
    assert OSS_120B.used_params / 1e9 == pytest.approx(5.13, abs=0.005)
    assert BF16.used_params == BF16.params_total - BF16.embedding_params


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"params_active": 500}, "experts and experts_per_token"),
        ({"experts": 4}, "experts and embedding"),
        ({"vocab": 1000}, "experts and embedding"),
    ],
)
def test_a_shape_that_does_not_add_up_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        shape(**changes)


def test_context_and_batch_add_the_kv_cache() -> None:
    """Phi-3-mini: 384 KiB a token, and no layer keeps more than 2047 of them."""
    phi = shape_of("Phi-3-mini")
    read = bound_of(phi, SPARK, Load(12, 1000)).read
    assert read.kv == 12 * 1000 * 384 * 1024
    assert bound_of(phi, SPARK, Load(12, 4000)).read.kv == 12 * 2047 * 384 * 1024
    assert bound_of(phi, SPARK, Load(12, 1000, kv_bits=8)).read.kv == read.kv / 2


def test_a_kv_cache_that_does_not_fit() -> None:
    found = judge(shape_of("Phi-3-mini"), SPARK, load=Load(200, 4000), throughput_tok_s=100)
    assert (found.verdict, "do not fit" in found.reasons[0]) == ("impossible", True)


@pytest.mark.parametrize(("params", "verdict"), [(60.9e9, "plausible"), (66e9, "impossible")])
def test_firmware_may_show_a_little_more_memory(params: float, verdict: str) -> None:
    """113.4 and 122.9 GiB of 119.6, which other firmware shows as 121.7."""
    model = shape_of("Qwen2.5-72B", params_total=int(params))
    assert judge(model, SPARK, load=Load(1), throughput_tok_s=1.5).verdict == verdict


def test_large_batches_are_held_by_compute() -> None:
    """2 x 7.07 billion operations a token at 125 TFLOPS."""
    roof = bound_of(BF16, SPARK, Load(1024))
    assert roof.limit == "compute"
    assert roof.tok_s == pytest.approx(125e12 / (2 * BF16.used_params))
    assert bound_of(BF16, SPARK, Load(256)).limit == "bandwidth"
    assert judge(BF16, SPARK, load=Load(4096), throughput_tok_s=9000).verdict == "impossible"


def test_matrix_units_take_narrow_formats_faster() -> None:
    free = replace(SPARK, bandwidth_gb_s=1e9)
    full, eight, four = (
        bound_of(model, free, Load(8)).tok_s for model in (BF16, Q8, replace(Q8, bits_per_weight=4.25))
    )
    assert (eight / full, four / full) == (pytest.approx(2), pytest.approx(4))


def test_a_site_that_tells_less_is_asked_less() -> None:
    bare = replace(SPARK, memory_gib=None, compute_tflops=None)
    found = judge(shape_of("Qwen2.5-72B"), bare, load=Load(8), throughput_tok_s=10)
    assert (found.verdict, found.bound.compute_s) == ("plausible", None)
    with pytest.raises(InputError, match="bandwidth"):
        judge(BF16, replace(SPARK, bandwidth_gb_s=None), load=Load(8), throughput_tok_s=10)


def test_speculative_decoding_gets_more_tokens_from_a_step() -> None:
    alone = judge(BF16, SPARK, load=Load(1), throughput_tok_s=40)
    drafted = judge(BF16, SPARK, load=Load(1, tokens_per_step=3), throughput_tok_s=40)
    assert (alone.verdict, drafted.verdict) == ("impossible", "plausible")
    assert drafted.bound_tok_s == pytest.approx(3 * alone.bound_tok_s)
    assert drafted.expected.read == alone.expected.read
    more = expected_of(OSS_120B, SPARK, Load(1, tokens_per_step=3)).read
    assert more.experts > 2.5 * expected_of(OSS_120B, SPARK, Load(1)).read.experts


def test_a_faster_machine_has_a_higher_roof() -> None:
    assert judge(BF16, H100, load=Load(8), throughput_tok_s=1200).verdict == "plausible"
    assert bound_of(BF16, H100, Load(8)).tok_s / bound_of(BF16, SPARK, Load(8)).tok_s == pytest.approx(3350 / 273)


SHAPES = st.sampled_from([found.shape for found in CARDS.values() if found.shape is not None] + [OSS_20B, Q8])
LOADS = st.builds(
    Load,
    batch=st.integers(1, 2000),
    context=st.floats(0, 1e5),
    tokens_per_step=st.floats(1, 8),
    kv_bits=st.sampled_from([4.0, 8.0, 16.0]),
    prompt_tokens=st.floats(0, 16),
)
SITES = st.builds(
    lambda bandwidth, compute: replace(SPARK, bandwidth_gb_s=bandwidth, compute_tflops=compute, memory_gib=None),
    st.floats(50, 8000),
    st.one_of(st.none(), st.floats(10, 3000)),
)


@given(SHAPES, SITES, LOADS)
def test_the_bound_is_never_below_the_expected_roof(model: Shape, place: Site, load: Load) -> None:
    bound, expected = bound_of(model, place, load), expected_of(model, place, load)
    assert bound.tok_s >= expected.tok_s * (1 - 1e-9)
    assert bound.read.total <= expected.read.total * (1 + 1e-9)


@given(SHAPES, SITES, LOADS, st.floats(0.01, 1e6))
def test_whatever_is_plausible_is_under_the_bound(model: Shape, place: Site, load: Load, asked: float) -> None:
    found = judge(model, place, load=load, throughput_tok_s=asked)
    assert (found.verdict == "impossible") == (asked > found.bound_tok_s * (1 + 1e-9))
    if found.verdict == "plausible":
        assert FAR_BELOW <= found.share <= FAR_ABOVE
        assert found.reasons == ()
    else:
        assert found.reasons


@given(SHAPES, SITES, LOADS, st.integers(1, 500))
def test_more_sequences_never_lower_either_roof_but_for_their_kv_cache(
    model: Shape, place: Site, load: Load, more: int
) -> None:
    larger = replace(load, batch=load.batch + more)
    assert bound_of(model, place, larger).tok_s >= bound_of(model, place, load).tok_s * (1 - 1e-9)
    assert expected_of(model, place, larger).tok_s >= expected_of(model, place, load).tok_s * (1 - 1e-9)
    assert bound_of(model, place, larger).step_s >= bound_of(model, place, load).step_s * (1 - 1e-9)


@given(SHAPES, SITES, LOADS, st.floats(1, 10), st.floats(0, 1e5))
def test_bandwidth_raises_and_context_lowers_the_roofs(
    model: Shape, place: Site, load: Load, factor: float, longer: float
) -> None:
    assert place.bandwidth_gb_s is not None
    faster = replace(place, bandwidth_gb_s=place.bandwidth_gb_s * factor)
    deeper = replace(load, context=load.context + longer)
    for roof in (bound_of, expected_of):
        now = roof(model, place, load).tok_s
        assert now * (1 - 1e-9) <= roof(model, faster, load).tok_s <= now * factor * (1 + 1e-9)
        assert roof(model, place, deeper).tok_s <= now * (1 + 1e-9)


# The check that is stored with a run.


def verdict_of(name: str, step_s: float, *, place: Site = SPARK, count: int = 8, **changes: Any) -> Verdict | None:
    """A run of `count` requests at once, 512 tokens in, 100 out, a token every `step_s`."""
    found = replace(CARDS[name], **changes.pop("card", {}))
    asked = experiment(
        models=(name,), workload=Workload(requests=count, input_tokens=512, output_tokens=100, concurrency=8)
    )
    whole = study(experiment=asked, cards=(found,), site=place, engine_options=changes.pop("options", {}))
    requests = tuple(
        request(i, input_tokens=512, output_tokens=100, submit_ns=0, first_token_ns=None, end_ns=round(step_s * 1e11))
        for i in range(count)
    )
    left = measurement(*requests, reported=changes.pop("reported", {}))
    return load_check("roofline").judge(Evidence(whole, make_plan(whole)[0], left, row=changes.pop("row", {})))


@pytest.mark.parametrize(
    ("step_s", "verdict"),
    [(0.066, "pass"), (0.052, "invalid"), (0.15, "pass"), (0.3, "warn")],
)
def test_a_run_is_judged_by_its_own_throughput(step_s: float, verdict: str) -> None:
    """A step reads 14.14 GB of weights and 0.26 GB of KV cache: 52.7 ms at the least."""
    found = verdict_of("DeepSeek-R1-7B", step_s)
    assert found is not None
    assert (found.check, found.verdict) == ("roofline", verdict)
    assert f"{8 / step_s:.4g} tok/s" in found.evidence or verdict == "warn"


def test_a_batch_that_the_engine_held_smaller_is_the_batch() -> None:
    found = verdict_of("DeepSeek-R1-7B", 0.066, reported={"max_batch_size": 4})
    assert found is not None
    assert found.verdict == "invalid"


def test_two_devices_have_twice_the_bandwidth() -> None:
    found = verdict_of("DeepSeek-R1-7B", 0.040, reported={"world_size": 2})
    assert found is not None
    assert found.verdict == "pass"


H100_NAME, H200_NAME = "NVIDIA H100 80GB HBM3", "NVIDIA H200"


@pytest.mark.parametrize(
    ("gpus", "step_s", "verdict"),
    [
        ([H100_NAME], 0.0042, "invalid"),
        ([H100_NAME], 0.0055, "pass"),
        ([H200_NAME], 0.0042, "pass"),
        ([H100_NAME] * 8, 0.0042, "invalid"),
        ([H100_NAME, H200_NAME], 0.0042, "pass"),
        (["NVIDIA L4"], 0.0042, None),
        ([H100_NAME, "NVIDIA L4"], 0.0042, None),
        ([], 0.0042, None),
    ],
)
def test_a_discrete_gpu_is_known_by_its_name(gpus: list[str], step_s: float, verdict: str | None) -> None:
    """A step reads 14.4 GB: 4.30 ms at 3350 GB/s, 3.0 at 4800."""
    found = verdict_of("DeepSeek-R1-7B", step_s, place=DISCRETE, row={"machine": json.dumps({"gpus": gpus})})
    assert (None if found is None else found.verdict) == verdict


def test_what_a_site_says_itself_stands_above_its_gpus() -> None:
    place = CATALOG.site("discrete-gpu", {"bandwidth_gb_s": 2000})
    assert place.with_gpus([H100_NAME]) == place


@pytest.mark.parametrize(
    "changes",
    [
        {"place": site()},
        {"card": {"shape": None}},
        {"count": 0},
        {"options": {"extra": {"speculative_config": {"decoding_type": "Eagle"}}}},
    ],
)
def test_without_the_data_there_is_no_verdict(changes: dict[str, Any]) -> None:
    assert verdict_of("DeepSeek-R1-7B", 0.001, **{"count": 8} | changes) is None


@pytest.mark.parametrize(
    ("dtype", "quantisation", "bits"),
    [
        (None, None, 16),
        ("auto", None, 16),
        ("auto", "MXFP4", 8),
        ("bfloat16", "AWQ", 16),
        ("FP8", None, 8),
        ("nvfp4", None, 4),
    ],
)
def test_bits_of_a_kv_cache(dtype: str | None, quantisation: str | None, bits: float) -> None:
    assert kv_bits(dtype, card(quantisation=quantisation)) == bits


def test_a_check_is_found_by_the_name_of_its_file() -> None:
    assert "roofline" in check_names()
    found = load_check("roofline")
    assert found is not None
    assert found.name == "roofline"
    with pytest.raises(UnknownNameError, match="roofline"):
        load_check("rooflin")
