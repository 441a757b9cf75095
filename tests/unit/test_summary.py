"""The answer on the terminal: the verdict first, in plain words, with its interval, pairs and warnings."""

from typing import Any

import pytest

from sparkray.sweep.summary import Findings, summary_lines, warnings_of

THROUGHPUT, LATENCY, MEMORY = "output_throughput_tok_s", "latency_mean_ms", "host_available_drop_peak_gib"
BETTER = {
    THROUGHPUT: "higher",
    LATENCY: "lower",
    MEMORY: "lower",
    "ttft_mean_ms": "lower",
    "container_to_ready_s": "lower",
}


def compared(metric: str = THROUGHPUT, ratio: float | None = 1.12, **changes: Any) -> dict[str, Any]:
    row = {
        "model": "SmolLM2-135M",
        "environment": "container_baseline",
        "against": "native",
        "metric": metric,
        "better": BETTER[metric],
        "primary": metric != "ttft_mean_ms",
        "n": 3,
        "ratio": ratio,
        "low": None if ratio is None else ratio - 0.62,
        "high": None if ratio is None else ratio + 1.37,
        "verdict": "undecided",
        "margin": 0.01,
        "pairs_needed": 1402,
        "not_estimable": None if ratio is not None else "1 pair: an interval needs two",
    }
    return row | changes


def decided(metric: str, ratio: float, verdict: str, **changes: Any) -> dict[str, Any]:
    ends = {"low": ratio - 0.001, "high": ratio + 0.001, "pairs_needed": None}
    return compared(metric, ratio, verdict=verdict, **(ends | changes))


def lines(*rows: dict[str, Any], **more: Any) -> list[str]:
    return summary_lines(Findings(rows, {}, **more))


def test_the_first_line_is_the_verdict_with_interval_pairs_and_warnings() -> None:
    (first, *_) = lines(compared(), warnings={"steady": 5})
    assert first == (
        "Docker vs native: can't tell yet. Throughput +12 % (-50 % to +149 %), 3 pairs; 5 warnings (noisy machine)."
    )


def test_kinds_of_warnings_are_named_with_their_counts_and_unknown_ones_by_their_name() -> None:
    (first, *_) = lines(compared(), warnings={"steady": 5, "brand_new": 1})
    assert first.endswith("; 6 warnings (noisy machine 5, brand new 1).")


def test_warnings_are_counted_whatever_the_policy() -> None:
    rows = [{"check": "steady", "verdict": "warn"}] * 2 + [{"check": "outliers", "verdict": "warn"}]
    rows += [{"check": "thermal", "verdict": "pass"}, {"check": "tokens", "verdict": "invalid"}]
    assert warnings_of(rows) == {"steady": 2, "outliers": 1}


@pytest.mark.parametrize(
    ("throughput", "memory", "words"),
    [
        (decided(THROUGHPUT, 0.95, "different"), decided(MEMORY, 1.0, "equivalent"), "slower by more than 1 %"),
        (decided(THROUGHPUT, 1.05, "different"), decided(MEMORY, 1.0, "equivalent"), "faster by more than 1 %"),
        (decided(THROUGHPUT, 1.001, "equivalent"), decided(MEMORY, 1.0, "equivalent"), "no difference beyond 1 %"),
        (
            decided(THROUGHPUT, 1.001, "equivalent"),
            decided(MEMORY, 1.2, "different"),
            "not slower by more than 1 %, but it needs more memory",
        ),
        (decided(THROUGHPUT, 1.001, "equivalent"), compared(MEMORY), "not slower by more than 1 %; memory can't"),
        (compared(ratio=None), compared(MEMORY, None), "nothing to compare yet"),
    ],
)
def test_the_verdict_is_that_of_the_decision_rule(
    throughput: dict[str, Any], memory: dict[str, Any], words: str
) -> None:
    (first, *_) = lines(throughput, memory)
    assert first.startswith(f"Docker vs native: {words}")


def test_one_undecided_metric_of_speed_leaves_the_verdict_open() -> None:
    (first, *_) = lines(decided(THROUGHPUT, 1.001, "equivalent"), compared(LATENCY))
    assert first.startswith("Docker vs native: can't tell yet.")


def test_one_model_takes_few_lines_however_many_metrics_there_are() -> None:
    rows = [compared(metric) for metric in BETTER if metric != "container_to_ready_s"]
    assert len(lines(*rows, warnings={"steady": 1})) <= 7
    both = [row | {"environment": name} for name in ("container_baseline", "container_optimized") for row in rows]
    shown = lines(*both)
    assert len(shown) <= 10
    assert shown[1].startswith("Tuned Docker vs native: can't tell yet.")


def test_a_served_model_keeps_its_start_and_latencies_beside_several_arms() -> None:
    arms = ("container_baseline", "container_host_network")
    for metrics, start in (((THROUGHPUT, "container_to_ready_s"), True), ((THROUGHPUT, LATENCY), False)):
        rows = [compared(metric, environment=each) for each in arms for metric in (*metrics, "ttft_mean_ms")]
        text = "\n".join(lines(*rows))
        assert (text.count("Until ready (s)"), text.count("First token (ms)")) == ((2, 2) if start else (0, 0))


def test_lines_fit_a_terminal_of_80_columns_but_for_sentences() -> None:
    rows = [decided(metric, 0.97, "different") for metric in BETTER]
    assert all(len(line) <= 80 for line in lines(*rows)[1:])


def test_several_models_are_counted_by_verdict_and_have_a_line_each() -> None:
    rows = [decided(THROUGHPUT, 0.95, "different", model=f"M{n}") for n in range(3)] + [compared(model="M3")]
    first, *table = lines(*rows)
    assert first.startswith(
        "Docker vs native, 4 models: can't tell yet on 1, slower by more than 1 % on 3. Throughput "
    )
    assert [line.split()[0] for line in table[1:]] == ["M0", "M1", "M2", "M3"]


def test_a_long_name_keeps_its_column() -> None:
    names = ("M", "SmolLM2-135M concurrency=16 batch=16")
    _, head, *table = lines(*(decided(THROUGHPUT, 0.95, "different", model=name) for name in names))
    assert {line.index("-5") for line in table} == {head.index("throughput")}


def test_names_of_environments_stay_apart_and_above_their_numbers() -> None:
    first, head, numbers, *_ = lines(compared(environment="container_seccomp_unconfined"))
    assert first.startswith("Container seccomp unconfined vs native: ")
    assert head.endswith(" native  container seccomp unconfined  difference (95 % CI)")
    width = head.index("  difference")
    assert numbers[width - 2 : width] == " –"  # no level is known here
    assert numbers[width:].startswith("  +12 %")


def test_a_precise_interval_has_decimals_and_a_wide_one_has_none() -> None:
    (precise, *_) = lines(decided(THROUGHPUT, 0.9975, "equivalent"))
    assert "-0.25 % (-0.35 % to -0.15 %)" in precise


def test_nothing_compared_says_so() -> None:
    assert lines() == ["No comparison yet: no two environments have runs that count."]
    same = {"environment": "container_optimized", "like": "container_baseline", "reasons": [], "measured": False}
    assert lines(equal=[same]) == [
        "Container_optimized against container_baseline: equal by definition, not measured (the flags are the same)."
    ]


def test_images_that_differ_are_named_with_their_digests() -> None:
    one = {"digests": ["sha256:" + "a" * 64], "image_digests": ["sha256:" + "1" * 64], "images": ["own:1"]}
    other = {"digests": ["sha256:" + "b" * 64], "image_digests": ["sha256:" + "2" * 64], "images": ["own:2"]}
    files = {"container_baseline": one | {"own_image": ""}, "container_against": other | {"own_image": "own:2"}}
    (said,) = [line for line in lines(compared(), files=files) if "images" in line]
    assert said == (
        "The arms ran different images, as the experiment declares: Docker own:1 (image sha256:111111111111, files "
        "sha256:aaaaaaaaaaaa); 2nd Docker own:2 (image sha256:222222222222, files sha256:bbbbbbbbbbbb). What differs "
        "between them may be the image's doing or the flags'."
    )
    undeclared = {name: each | {"own_image": ""} for name, each in files.items()}
    assert any(
        line.startswith("CAUTION: arms that should run the same") for line in lines(compared(), files=undeclared)
    )
    same = {name: each | {"digests": one["digests"]} for name, each in files.items()}
    assert any("different images that hold the same files" in line for line in lines(compared(), files=same))
    assert len(lines(compared(), files={"native": files["container_baseline"]})) == len(lines(compared()))
