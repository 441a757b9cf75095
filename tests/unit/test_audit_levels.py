"""Findings that depend on the level of the load and on the devices of a run."""

from typing import Any

import pytest
from audit_cases import case, judged_rows, kinds, of_kind, rows_of

from sparkray.audit import audit
from sparkray.audit.table import results_of
from sparkray.catalog import Catalog, data_root

PAIRS = "ABBABAABABBAABBABAAB"


def of_levels(*levels: tuple[str, int | None, str, float]) -> list[Any]:
    """Runs of several models: name, batch, level, and tokens per second."""
    return [
        row | {"model": name, "batch": batch, "level": level}
        for name, batch, level, speed in levels
        for row in rows_of(PAIRS, values=[speed + index % 3 for index in range(len(PAIRS))])
    ]


@pytest.mark.parametrize(
    ("levels", "reported"),
    [
        ((("small-7b", None, "", 100), ("large-72b", None, "", 100)), True),
        ((("small-7b", 1, "batch=1", 100), ("large-72b", 16, "batch=16", 100)), False),
        ((("small-7b", None, "batch=1", 100), ("large-72b", None, "batch=16", 100)), False),
        ((("small-7b", 16, "batch=16", 100), ("large-72b", 16, "batch=16", 100)), True),
        ((("small-7b", 1, "", 100), ("large-72b", 16, "", 100)), False),
        ((("large-72b", 4, "", 100), ("small-7b", 16, "", 100)), True),
    ],
)
def test_models_are_compared_within_one_level_of_the_load(
    levels: tuple[tuple[str, int | None, str, float], ...], reported: bool
) -> None:
    assert ("indistinguishable_models" in kinds(judged_rows(of_levels(*levels)))) is reported


@pytest.mark.parametrize(
    ("small", "large", "gravity"),
    [
        (("DeepSeek-R1-7B", 8, "", 119), ("GPT-OSS-120B", 4, "", 119), "grave"),
        (("DeepSeek-R1-7B", 8, "", 119), ("Qwen2.5-72B", 4, "", 119), "fatal"),
    ],
)
def test_what_is_read_for_a_token_says_how_grave_it_is(
    small: tuple[str, int, str, float], large: tuple[str, int, str, float], gravity: str
) -> None:
    """At 8 sequences a 7B reads 1.8 GB a token; at 4 a 120B of experts reads 2.6, and a dense 72B 35.7."""
    (found,) = of_kind(judged_rows(of_levels(small, large)), "indistinguishable_models")
    assert found.gravity == gravity
    assert "batch 8) 1" in found.evidence


def test_batches_of_a_table_are_levels() -> None:
    results = results_of("rows", of_levels(("m-7b", 1, "", 10), ("m-7b", 16, "", 100)))
    assert sorted(set(results.ok["model"])) == ["m-7b batch=1", "m-7b batch=16"]
    assert set(results.ok["model_name"]) == {"m-7b"}


@pytest.mark.parametrize(
    ("batch", "speed", "more", "reported"),
    [
        (1, 30.0, {}, "fatal"),
        (32, 500.0, {}, None),
        (32, 700.0, {}, "fatal"),
        (32, 700.0, {"devices": 2}, None),
        (32, 1300.0, {"devices": 2}, "fatal"),
        (1, 60.0, {"speculative": True}, None),
    ],
)
def test_a_throughput_is_held_against_the_batch_and_the_devices_of_its_own_run(
    batch: int, speed: float, more: dict[str, Any], reported: str | None
) -> None:
    """A 7B of 16 bits reads 14.1 GB a step: 19.3 steps a second at the 273 GB/s of one device."""
    runs = rows_of(
        PAIRS, model="DeepSeek-R1-7B", values=[speed + index % 3 for index in range(20)], batch=batch, **more
    )
    report = audit(case(results_of("rows", runs)))
    assert [finding.gravity for finding in of_kind(report, "beyond_roofline")] == ([reported] if reported else [])
    speculates = "DeepSeek-R1-7B: decoding is speculative, so the tokens per step are unknown"
    assert (speculates in [left.reason for left in report.not_judged]) is ("speculative" in more)


@pytest.mark.parametrize(("devices", "gravity"), [(None, "fatal"), (0, "fatal"), (2, None)])
def test_memory_is_that_of_the_devices_that_were_used(devices: int | None, gravity: str | None) -> None:
    """A 72B of 16 bits is 135.4 GiB, an H100 has 80: two hold it."""
    site = Catalog(data_root()).site("discrete-gpu")
    results = results_of("rows", rows_of(PAIRS, model="Qwen2.5-72B", devices=devices), gpus=("NVIDIA H100 80GB HBM3",))
    found = of_kind(audit(case(results, site=site)), "beyond_memory")
    assert [finding.gravity for finding in found] == ([gravity] if gravity else [])
