"""Whatever a run leaves, readers answer or raise a typed error: any cut, NaN, null, colour, mix of ranks, double line."""

import json
import math
import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from trtllm_samples import ENERGY, LOG, MACHINE, REQUESTS, job, leave, report

from sparkray.engines import load_engine
from sparkray.engines._trtllm.iterations import read_iterations
from sparkray.engines._trtllm.log import read_log
from sparkray.engines._trtllm.report import read_report
from sparkray.engines._trtllm.requests import read_requests
from sparkray.errors import EngineOutputError, RunError

ENGINE = load_engine("trtllm")
FULL = json.dumps(report(machine=MACHINE, energy=ENERGY), indent=4)
LOGS = ("", LOG, f"{LOG}Error during benchmarking:\npynvml.NVMLError: x\n", "Keyboard interrupt, exiting benchmark")
ODD = st.sampled_from([math.nan, math.inf, -math.inf, None, "", "None", -1, 0, 10**400, True, [], {}, "x"])
ANSI = st.sampled_from(["\x1b[0m", "\x1b[31;1m", "\x1b[2K", "\x1b]0;title\x07", "\x1bM"])


def paths_of(value, prefix=()):
    yield prefix
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths_of(inner, (*prefix, key))


def with_odd(document, path, value):
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = with_odd(document[path[0]], path[1:], value)
    return copy


@given(cut=st.integers(0, len(FULL)))
def test_a_report_cut_anywhere(cut):
    try:
        read_report(FULL[:cut].encode())
    except EngineOutputError:
        assert cut < len(FULL)
    else:
        assert cut == len(FULL)


@given(path=st.sampled_from(list(paths_of(json.loads(FULL)))), value=ODD)
def test_a_report_with_anything_anywhere(path, value):
    text = json.dumps(with_odd(json.loads(FULL), path, value))
    try:
        read = read_report(text.encode())
    except EngineOutputError:
        return
    json.dumps(read.reported, allow_nan=False)


@given(path=st.sampled_from(list(paths_of(REQUESTS))), value=ODD)
@example(path=(0, "end_timestamp"), value=10**400)
def test_a_request_file_with_anything_anywhere(path, value):
    try:
        read = read_requests(json.dumps(with_odd(REQUESTS, path, value)).encode())
    except EngineOutputError:
        return
    assert all(r.submit_ns <= (r.first_token_ns or r.submit_ns) <= r.end_ns for r in read)


@given(data=st.binary(max_size=300))
def test_bytes_are_no_files_of_a_run(data):
    for reader in (read_report, read_requests):
        try:
            reader(data)
        except EngineOutputError:
            continue
        assert json.loads(data) == []


@given(text=st.text(max_size=500))
def test_any_text_is_a_log(text):
    read_log(text)
    read_iterations(text)


@given(cut=st.integers(0, len(LOG)))
def test_a_log_cut_anywhere_tells_less_and_never_other(cut):
    whole, part = read_log(LOG), read_log(LOG[:cut])
    assert part.load_s in (None, whole.load_s) or LOG[:cut].endswith(str(part.load_s))
    assert part.benchmark_s in (None, whole.benchmark_s)
    assert part.kv_cache_bytes in (None, round(0.33 * 2**30), whole.kv_cache_bytes)


@given(places=st.lists(st.tuples(st.integers(0, len(LOG)), ANSI), max_size=20))
def test_colours_change_nothing(places):
    text = LOG
    for place, code in sorted(places, reverse=True):
        text = f"{text[:place]}{code}{text[place:]}"
    assert read_log(text) == read_log(LOG)


@given(st.lists(st.integers(1, 3), min_size=9, max_size=9))
def test_doubled_lines_change_nothing(times):
    lines = LOG.splitlines()
    text = "\n".join(line for line, count in zip(lines, times, strict=False) for _ in range(count))
    assert read_log(text) == read_log("\n".join(lines[: len(times)]))


@given(st.lists(st.booleans(), min_size=2, max_size=40))
def test_lines_of_another_rank_change_nothing(order):
    own = [f"[TRT-LLM] [RANK 0] [I] {line}" for line in LOG.splitlines()]
    other = [line.replace("RANK 0", "RANK 3").replace("44.31", "11.11").replace("70.47", "7.77") for line in own]
    mixed, rest = [], (own.copy(), other.copy())
    for first in order:
        mixed += [rest[first].pop(0)] if rest[first] else []
    mixed += rest[1] + rest[0]
    told, alone = read_log("\n".join(mixed)), read_log("\n".join(own))
    assert (told.kv_cache_bytes, told.peak_bytes) == (alone.kv_cache_bytes, alone.peak_bytes)


@given(blocks=ODD, size=st.sampled_from([1e308, math.nan, None, "x", 32]))
def test_kv_figures_of_any_kind(blocks, size):
    read = read_iterations(
        repr({"kvCacheStats": {"maxNumBlocks": blocks, "tokensPerBlock": size, "usedNumBlocks": blocks}})
    )
    json.dumps(read.summary(), allow_nan=False)


def test_kv_figures_beyond_all_numbers():
    read = read_iterations("{'kvCacheStats': {'maxNumBlocks': 1e308, 'tokensPerBlock': 1e308}}")
    assert read.summary()["kv_cache_tokens"] is None


@given(
    keys=st.dictionaries(st.text(max_size=8), ODD.filter(lambda v: v != 10**400), max_size=5), cut=st.integers(0, 200)
)
def test_iterations_survive_repr_and_cut(keys, cut):
    line = repr(keys)
    read = read_iterations(f"{line}\n{line[:cut]}")
    assert len(read.records) + read.skipped in (1, 2)
    read.summary()


@given(
    report_cut=st.integers(-1, len(FULL)),
    requests_cut=st.integers(-1, 1200),
    log=st.sampled_from(LOGS),
)
def test_a_folder_gives_a_measurement_or_a_typed_error(report_cut, requests_cut, log):
    requests = json.dumps(REQUESTS)
    with tempfile.TemporaryDirectory() as name:
        folder = leave(
            Path(name),
            log=log,
            report=None if report_cut < 0 else FULL[:report_cut],
            requests=None if requests_cut < 0 else requests[:requests_cut],
        )
        ENGINE.salvage(folder, job())
        try:
            read = ENGINE.read(folder, job())
        except RunError:
            return
        assert len(read.requests) == 2


@given(st.text(max_size=300))
def test_any_answer_of_the_probe(text):
    try:
        told = ENGINE.understand(f"@@sparkray version\n{text}\n@@sparkray throughput\n{text}")
    except EngineOutputError:
        return
    assert told["version"]
