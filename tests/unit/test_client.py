"""The load generator against a real server in another process."""

import os
import signal
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http_server import Faults, server

from sparkray.client import Load, LoadResult, Target, run_load
from sparkray.client._http import _Body
from sparkray.client._rows import parsed, rate_share, result_of
from sparkray.client._stream import EventParser
from sparkray.config.arrival import Arrival
from sparkray.errors import ClientFailedError, ConfigError, UnknownNameError
from sparkray.units import NS_PER_S

IDS = [[1, 2, 3]] * 8


def _load(faults: Faults, *, endpoint: str = "completions", **changed) -> LoadResult:
    given = {"prompts": IDS, "output_tokens": 6, "concurrency": 1, "timeout_s": 20.0} | changed
    with server(faults) as (url, _):
        return run_load(Target(url, "test-model", endpoint), Load(**given))


def _kinds(result: LoadResult) -> list[str | None]:
    return [request.error_kind for request in result.requests]


def _most_at_once(result: LoadResult) -> int:
    events = sorted([(r.submit_ns, 1) for r in result.requests] + [(r.end_ns, -1) for r in result.requests])
    return max(sum(change for _, change in events[: n + 1]) for n in range(len(events)))


def test_a_closed_loop_keeps_its_concurrency_and_stamps_every_token() -> None:
    result = _load(Faults(token_s=0.01, split=True, line_end="crlf"), concurrency=3, warmup=2)
    assert (result.ended, result.notes, result.models) == ("complete", (), ("test-model",))
    assert [(r.index, r.warmup) for r in result.requests] == [(n, n < 2) for n in range(8)]
    assert {(r.input_tokens, r.output_tokens, r.chunks, len(r.token_ns)) for r in result.requests} == {(3, 6, 6, 6)}
    assert _most_at_once(result) == 3
    assert result.requests[0].end_ns < result.requests[1].submit_ns < result.requests[1].end_ns
    for request in result.requests:
        assert request.submit_ns < request.first_token_ns == request.token_ns[0]
        assert list(request.token_ns) == sorted(request.token_ns)
        assert request.end_ns - request.submit_ns > 5 * 0.01 * NS_PER_S
    assert result.client_cpu_s > 0


def test_the_share_of_the_limit_is_the_busiest_second_at_the_cpu_time_per_chunk() -> None:
    rows = [{"chunk_ns": [n * NS_PER_S // 100 for n in range(200)]}, {"chunk_ns": []}]
    assert rate_share(rows, 0.4) == pytest.approx(100 * 0.4 / 200)
    assert rate_share(rows, None) is None
    assert rate_share(rows[1:], 0.4) is None


def test_chat_with_usage_in_every_chunk_and_no_end_mark() -> None:
    result = _load(Faults(usage="every", done=False, line_end="cr", split=True), endpoint="chat", prompts=["a b"] * 3)
    assert [(r.input_tokens, r.output_tokens, r.error) for r in result.requests] == [(2, 6, None)] * 3
    assert result.notes == ("3 streams ended without [DONE]",)


def test_failed_requests_are_rows_and_the_others_go_on() -> None:
    faults = Faults(error_requests=(2,), half_requests=(3,), stream_error_requests=(4,), hang_requests=(5,))
    result = _load(faults, timeout_s=0.5)
    assert _kinds(result) == [None, "status", "truncated", "server", "timeout", None, None, None]
    errors = [request.error for request in result.requests[1:5]]
    assert errors == [
        "HTTP 500: request 2 fails on purpose",
        "the server closed the connection, after 3 chunks with text",
        "the server reports an error in the stream: out of memory on purpose",
        "no complete answer within 0.5 s",
    ]
    assert [r.output_tokens for r in result.requests[1:5]] == [None] * 4
    assert result.requests[2].first_token_ns is not None
    assert len(result.notes) == 4
    assert result.notes[0] == f"1 of 8 requests failed (status), the first, 1: {errors[0]}"


@pytest.mark.parametrize(
    ("faults", "kind", "text", "tokens"),
    [
        (Faults(usage="none"), "usage_missing", "the number of tokens is unknown (6 chunks held text)", None),
        (Faults(usage="short"), "usage_contradicts", "reports 5 output tokens, but 6 chunks held text", 5),
        (Faults(usage="long"), "usage_contradicts", "reports 12 output tokens, but at most 6 were asked for", 12),
        (Faults(no_stream=True), "no_stream", "one JSON document, not a stream", None),
    ],
)
def test_token_counts_that_cannot_be_right_are_errors(faults: Faults, kind: str, text: str, tokens: int | None) -> None:
    result = _load(faults, prompts=IDS[:2])
    assert _kinds(result) == [kind] * 2
    assert text in result.requests[0].error
    assert result.requests[0].output_tokens == tokens
    assert len(result.notes) == 1


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (b'{"choices": 5}', "server"),
        (b'{"choices": {"text": 1}}', "server"),
        (b"[" * 100_000, "server"),
        (b'{"error": {"message": "\\ud800 is half a character"}}', "server"),
        (b'{"model": {"name": 1}, "choices": []}', None),
        (b'{"model": "\\ud800", "choices": []}', None),
        (b'{"usage": {"prompt_tokens": 1e400, "completion_tokens": 1}}', None),
        (b'{"usage": {"prompt_tokens": %d, "completion_tokens": 1}}' % 10**30, None),
    ],
)
def test_events_of_another_shape_are_errors_of_their_request_or_read_as_nothing(event: bytes, kind: str | None) -> None:
    stream = b"data: %s\n\n" % event + b'data: {"choices": [{"text": "a", "finish_reason": "stop"}]}\n\n'
    usage = b"" if b"usage" in event else b'data: {"usage": {"prompt_tokens": 1, "completion_tokens": 1}}\n\n'
    times = {"index": 0, "warmup": False, "due_ns": None, "submit_ns": 1, "ended_ns": 3}
    row = parsed({**times, "pieces": [stream + usage], "stamps": [2]})
    result = result_of([row], Load(prompts=["a"], output_tokens=1), ended="complete", cpu_s=0.1)
    assert _kinds(result) == [kind]
    assert result.requests[0].input_tokens == (None if b"usage" in event else 1)
    "".join([*result.models, result.requests[0].error or ""]).encode()  # half a character could not be stored


def test_chunks_of_several_tokens_leave_tokens_without_times_of_their_own() -> None:
    result = _load(Faults(tokens_per_chunk=4), prompts=IDS[:2])
    assert [(r.output_tokens, r.chunks, r.token_ns, r.error) for r in result.requests] == [(6, 2, (), None)] * 2
    assert result.notes == ("2 of 2 requests had chunks of several tokens: their ITL is a mean per request",)


def test_a_server_that_dies_leaves_a_broken_stream_and_refused_connections() -> None:
    result = _load(Faults(die_at_request=2), prompts=IDS[:4])
    assert _kinds(result) == [None, "truncated", "connection", "connection"]
    assert "Connect call failed" in result.requests[3].error


def test_a_request_on_a_connection_that_the_server_closed_is_sent_again() -> None:
    result = _load(Faults(close_kept=True), prompts=IDS[:4])
    assert [(r.output_tokens, r.error) for r in result.requests] == [(6, None)] * 4
    assert result.notes == ("3 requests were sent again: the server had closed the connection that it had kept",)


def test_a_trace_sends_when_due_and_not_when_answered() -> None:
    offsets = (0.0, 0.05, 0.3)
    arrival = Arrival("trace", offsets_s=offsets)
    result = _load(Faults(first_token_s=1.0), prompts=IDS[:4], warmup=1, arrival=arrival, concurrency=None)
    due = [request.due_ns for request in result.requests]
    assert due[0] is None
    assert [round((ns - due[1]) / NS_PER_S, 6) for ns in due[1:]] == list(offsets)
    assert all(r.submit_ns >= r.due_ns for r in result.requests[1:])
    assert _most_at_once(result) == 3


def test_a_rate_that_saturates_the_server_ends_early() -> None:
    arrival = Arrival("constant", rate_req_s=100.0)
    result = _load(Faults(first_token_s=60.0), arrival=arrival, concurrency=None, most_in_flight=4)
    assert (result.ended, _kinds(result)) == ("saturated", ["interrupted"] * 4)


def test_a_closed_loop_that_is_too_slow_ends_early_and_one_slow_request_does_not() -> None:
    result = _load(Faults(first_token_s=60.0), concurrency=4, most_latency_s=0.2)
    assert (result.ended, _kinds(result)) == ("saturated", ["interrupted"] * 4)
    hanging = _load(Faults(hang_requests=(3,)), concurrency=1, most_latency_s=0.2, timeout_s=0.6)
    assert (hanging.ended, len(hanging.requests)) == ("complete", 8)
    assert _kinds(hanging).count("timeout") == 1


def test_a_slow_warm_up_saturates_nothing() -> None:
    result = _load(Faults(first_token_s=0.3), prompts=IDS[:5], warmup=4, concurrency=1, most_latency_s=0.1)
    assert (result.ended, len(result.requests)) == ("complete", 5)


def test_a_stop_ends_the_load_at_once_with_the_rows_so_far() -> None:
    with server(Faults(token_s=0.2, announce=True)) as (url, process):
        result = run_load(Target(url, "m"), Load(IDS, 100), stop_fd=process.stdout.fileno())
    assert (result.ended, _kinds(result)) == ("stopped", ["interrupted"])
    assert result.requests[0].error == "the load was stopped before the answer was complete"


def test_a_client_that_is_killed_is_said_to_have_failed() -> None:
    with server(Faults(hang_requests=(2,), announce=True)) as (url, process):

        def kill() -> None:
            while process.stdout.readline() != "REQUEST 2\n":
                pass
            for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                if b"sparkray.client" in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(int(child), signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(ClientFailedError, match="status -9 after 1 requests"):
            run_load(Target(url, "m"), Load(IDS, 6))
        killer.join()


def test_the_client_is_pinned_and_says_when_it_cannot_be() -> None:
    own = min(os.sched_getaffinity(0))
    for cpus in ([4095], [own, 4095]):  # the kernel refuses the first and silently drops a part of the second
        with pytest.raises(ClientFailedError, match="status 1 after 0 requests: OSError"):
            run_load(Target("http://127.0.0.1:1", "m"), Load(IDS, 6), cpus=cpus)
    with server(Faults(first_token_s=0.5, announce=True)) as (url, process):
        seen: list[set[int]] = []

        def look() -> None:
            process.stdout.readline()
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            seen.extend(
                os.sched_getaffinity(int(child))
                for child in children
                if b"sparkray.client" in Path(f"/proc/{child}/cmdline").read_bytes()
            )

        looker = threading.Thread(target=look)
        looker.start()
        run_load(Target(url, "m"), Load(IDS[:1], 2), cpus=[own])
        looker.join()
    assert seen == [{own}]


def test_loads_that_cannot_be_are_refused() -> None:
    target = Target("http://127.0.0.1:1", "m", "chat")
    with pytest.raises(ConfigError, match="chat takes text"):
        run_load(target, Load(IDS, 6))
    with pytest.raises(UnknownNameError, match=r"load generator 'bultin'\. Did you mean 'builtin'"):
        run_load(target, Load(["a"], 6), client="bultin")
    with pytest.raises(ConfigError, match="2 offsets for 1 requests"):
        run_load(target, Load(["a"], 6, arrival=Arrival("trace", offsets_s=(0.0, 1.0))))
    with pytest.raises(ConfigError, match="warmup 9"):
        Load(IDS, 6, warmup=9)
    with pytest.raises(ConfigError, match="needs a concurrency"):
        Load(IDS, 6, concurrency=None)
    with pytest.raises(ConfigError, match="7 values for 8 prompts"):
        Load(IDS, [6] * 7)


def test_arrival_times_are_fixed_by_the_seed_and_have_the_rate() -> None:
    assert Arrival().offsets(3, 0) is None
    assert Arrival("constant", rate_req_s=4.0).offsets(3, 0) == (0.0, 0.25, 0.5)
    poisson = Arrival("poisson", rate_req_s=10.0)
    times = poisson.offsets(4000, 7)
    assert times == poisson.offsets(4000, 7) != poisson.offsets(4000, 8)
    gaps = [b - a for a, b in pairwise(times)]
    assert sum(gaps) / len(gaps) == pytest.approx(0.1, rel=0.05)
    assert sum(gap > 0.1 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.03)
    for wrong in ({"kind": "poisson"}, {"rate_req_s": 1.0}, {"kind": "trace"}, {"kind": "trace", "offsets_s": (1, 0)}):
        with pytest.raises(ValueError, match=r"rate_req_s|offsets_s"):
            Arrival(**wrong)


@given(
    st.lists(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=9), min_size=1, max_size=5),
    st.sampled_from(["\n", "\r", "\r\n"]),
    st.lists(st.integers(0, 200), max_size=8),
    st.booleans(),
)
def test_events_are_the_same_however_the_bytes_are_cut(
    payloads: list[str], end: str, cuts: list[int], whole: bool
) -> None:
    stream = "".join(f": note{end}id: 1{end}data: {payload}{end}{end}" for payload in payloads).encode()
    stream = stream if whole else stream.removesuffix(end.encode())
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    parser = EventParser()
    found = [event for a, b in pairwise(places) for event in parser.feed(stream[a:b])] + parser.close()
    assert [event.decode() for event in found] == payloads


@given(
    st.lists(st.sampled_from([b"a", b"\r\n", b"0\r\n\r\n", b"data: x\n\n" * 9]), min_size=1, max_size=5),
    st.sampled_from([b"", b";name=value"]),
    st.lists(st.integers(0, 400), max_size=8),
)
def test_a_chunked_body_is_the_same_however_it_is_cut(chunks: list[bytes], extension: bytes, cuts: list[int]) -> None:
    framed = [b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk) for chunk in chunks]
    stream = b"".join(framed) + b"0\r\nTrailer: 1\r\n\r\n"
    whole = [sum(map(len, framed[:n])) for n in range(len(framed) + 1)]
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for cut_at in (places, [*whole, len(stream)]):  # anywhere, and one chunk a read
        body = _Body({"transfer-encoding": "chunked"})
        assert b"".join([body.feed(stream[a:b]) for a, b in pairwise(cut_at)]) == b"".join(chunks)
        assert body.ended
