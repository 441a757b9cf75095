"""Serving runs as plain processes of this machine: a recipe nobody knew, and every fault of a server, for real."""

import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from real_machine import require_root
from small_bench import bench_of, model_of, run, study_of
from support.http_server import Faults

from sparkray.catalog import read_yaml
from sparkray.config.experiment import Saturation, Serving, Slo, Workload
from sparkray.config.recipe import recipe_of
from sparkray.engines import load_engine
from sparkray.execute.prepared_host import PreparedHost
from sparkray.machine.cpu_isolation import usable_cpus
from sparkray.records import Outcome
from sparkray.runtimes import Stop
from sparkray.runtimes.linux.process import marked

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("machine_lock")]

SUPPORT = Path(__file__).parents[1] / "support"
RECIPE = """
name: acme
description: A server that was invented for this test.
command: [{python}, {script}, "{{port}}", "{{served_name}}", "{{host}}"]
readiness: {{path: /ready}}
version: {{path: /about, key: build.number}}
log: {{kv_cache_mib: 'acme: ([0-9.]+) MiB of cache'}}
grace_s: 2
"""
LOAD = Workload(
    kind="serve",
    requests=4,
    warmup_requests=1,
    input_tokens=8,
    output_tokens=6,
    concurrency=2,
    serve=Serving(request_timeout_s=20, ready_timeout_s=30, slo=Slo(latency_ms=60_000)),
)
QUIET = dict.fromkeys(
    ("exclusive", "memory_state", "power_state", "start_state", "sampled", "steady", "outliers"), "off"
)


@pytest.fixture(scope="module")
def prepared(machine_lock: None, tmp_path_factory: pytest.TempPathFactory) -> PreparedHost:
    """The host arm, ready for the invented server."""
    require_root("host")
    folder = tmp_path_factory.mktemp("serve")
    path = folder / "acme.yaml"
    path.write_text(RECIPE.format(python=sys.executable, script=SUPPORT / "stranger_server.py"))
    study = study_of(model_of(folder), environments=("host",))
    experiment = replace(study.experiment, workload=LOAD, checks=QUIET, max_attempts=1)
    options = load_engine("server:acme").options({"recipe": asdict(recipe_of(read_yaml(path), "acme.yaml"))}, "test")
    study = replace(study, experiment=experiment, engine="server:acme", engine_options=options)
    return bench_of(study, folder / "results", folder / "cache")


@pytest.fixture(autouse=True)
def nothing_left(prepared: PreparedHost) -> Iterator[None]:
    yield
    assert marked() == []
    assert [child.cmdline() for child in psutil.Process().children() if "sparkray.client" in child.cmdline()] == []
    assert list(prepared.dataset.spool.iterdir()) == []


def served(
    prepared: PreparedHost,
    *,
    load: Workload = LOAD,
    timeout_s: float = 60,
    stop: Stop | None = None,
    **changes: Any,
) -> Outcome:
    """One run with other keys of the recipe; `arguments` and `port` are the engine's own."""
    study = prepared.study
    own = {key: changes.pop(key) for key in ("arguments", "port") if key in changes}
    options = {**study.engine_options, **own, "recipe": {**study.engine_options["recipe"], **changes}}
    experiment = replace(study.experiment, workload=load, timeout_s=timeout_s)
    return run(
        replace(prepared, study=replace(study, experiment=experiment, engine_options=options)), "host", stop=stop
    )


def with_faults(prepared: PreparedHost, *, load: Workload = LOAD, **faults: Any) -> Outcome:
    """One run of the server whose faults lie in its answers."""
    return served(
        prepared,
        load=load,
        command=(sys.executable, str(SUPPORT / "http_server.py"), "{input}/options.yaml"),
        options_file={**asdict(Faults(**faults)), "port": "{port}", "model": "{served_name}"},
        readiness={"path": "/health"},
    )


def test_a_recipe_that_nobody_knew_works_by_its_yaml_alone(prepared: PreparedHost) -> None:
    outcome = served(prepared)
    assert (outcome.status, outcome.row["reason"]) == ("ok", None)
    row = outcome.row
    assert [(r.input_tokens, r.output_tokens, r.warmup) for r in outcome.requests] == [(8, 6, i == 0) for i in range(5)]
    assert row["engine_version"] == "3.1"
    assert row["kv_cache_gib"] == 12.5 / 1024
    assert row["model_sha256"] == prepared.weights["Tiny"].sha256
    assert row["exit_code"] == 0
    assert 0.4 < row["container_to_ready_s"] < 20
    assert 0 < row["start_to_container_s"] < row["duration_s"]
    assert row["first_request_s"] > 0
    assert row["tpot_mean_ms"] > 0
    assert row["goodput_req_s"] == row["request_throughput_req_s"] > 0
    assert row["error_rate_pct"] == 0
    assert (row["network_mode"], row["network_published"]) == ("host", None)
    assert row["network_route"].startswith("python")
    assert row["client_cpus"] is None


def test_the_load_generator_is_pinned_where_the_site_says_so_and_the_row_has_it(prepared: PreparedHost) -> None:
    cpu = str(max(usable_cpus()))
    site = replace(prepared.study.site, client_cpus=cpu)
    outcome = served(replace(prepared, study=replace(prepared.study, site=site)))
    assert (outcome.status, outcome.row["client_cpus"]) == ("ok", cpu)


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "dies while loading": (
        {"arguments": ("dies_loading",)},
        "failed",
        "the server ended with status 1 while it loaded the model: acme: out of luck while loading",
    ),
    "never ready": ({"arguments": ("never_ready",)}, "unready", r"not ready after 2 s\. .*ready_timeout_s"),
    "500 where it should be ready": ({"arguments": ("broken",)}, "unready", "answered /ready with status 500"),
    "another model": ({"arguments": ("wrong_model",)}, "unready", "the server serves other, not Tiny"),
    "ends under load": ({"arguments": ("ends",)}, "failed", "the server ended with status 0 under load: "),
    "dies at its stop": ({"arguments": ("dies_at_stop",)}, "failed", "the server ended with status 3 at its stop"),
    "ignores the stop": ({"arguments": ("deaf",)}, "failed", "had not ended 2 s after SIGTERM and was killed"),
    "no such command": ({"command": ("/nowhere/acme",)}, "unready", "could not be started: .*/nowhere/acme"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_server(prepared: PreparedHost, name: str) -> None:
    changes, status, reason = FAULTS[name]
    quick = replace(LOAD, serve=Serving(ready_timeout_s=2 if name == "never ready" else 30))
    outcome = served(prepared, load=quick, **changes)
    assert outcome.status == status, outcome.row["reason"]
    assert re.search(reason, outcome.row["reason"]), outcome.row["reason"]


# every kind of answer is tried on the client alone, in tests/unit/test_client.py; here, what a run makes of them
ANSWERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "dies under load": ({"die_at_request": 3}, "failed", "the server ended with status 7 under load"),
    "some 500s": ({"error_requests": (2, 4)}, "invalid", "tokens: .*2 requests failed, the first, 1: HTTP 500"),
    "usage that contradicts": ({"usage": "short"}, "failed", "every request failed, the first: usage reports 5"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_fault_in_the_answers(prepared: PreparedHost, name: str) -> None:
    faults, status, reason = ANSWERS[name]
    outcome = with_faults(prepared, **faults)
    assert outcome.status == status, outcome.row["reason"]
    assert re.search(reason, outcome.row["reason"]), outcome.row["reason"]
    assert {r.index for r in outcome.requests} >= ({0, 1} if "load" not in name else set()), "failed ones too"


def test_a_step_that_over_saturates_ends_early_and_is_an_answer(prepared: PreparedHost) -> None:
    slow = replace(LOAD, serve=Serving(ready_timeout_s=30, saturation=Saturation(most_latency_s=0.3)))
    outcome = with_faults(prepared, load=slow, first_token_s=1.0)
    assert outcome.status == "saturated", outcome.row["reason"]
    assert outcome.row["reason"].startswith(
        "over-saturated: requests in a row took longer than 0.3 s (serve.saturation.most_latency_s), when "
    )
    assert [r.error_kind for r in outcome.requests] == [None, None, None, "interrupted", "interrupted"]
    assert outcome.row["duration_s"] < 20
    assert outcome.row["run_id"] in prepared.dataset.done_run_ids() - prepared.dataset.ok_run_ids()


def test_a_slow_first_request_stands_by_itself(prepared: PreparedHost) -> None:
    outcome = with_faults(prepared, first_request_s=1.5)
    assert outcome.status == "ok", outcome.row["reason"]
    assert outcome.row["first_request_s"] > 1.5 > outcome.row["latency_p99_ms"] / 1000


def test_a_taken_port(prepared: PreparedHost) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        outcome = served(prepared, port=other.getsockname()[1])
    assert outcome.status == "unready", outcome.row["reason"]
    assert re.search("port [0-9]+ of 127.0.0.1 is taken", outcome.row["reason"]), outcome.row["reason"]


def test_a_crash_of_the_client(prepared: PreparedHost) -> None:
    def kill() -> None:
        while not ended.wait(0.01):
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):  # it is a zombie, or not yet what it will be
                    if "sparkray.client" in child.cmdline():
                        child.kill()

    ended = threading.Event()
    thread = threading.Thread(target=kill)
    thread.start()
    outcome = served(prepared)
    ended.set()
    thread.join()
    assert outcome.status == "failed", outcome.row["reason"]
    assert "load generator" in outcome.row["reason"]


def test_a_stop_and_the_end_of_the_time_end_it_all(prepared: PreparedHost) -> None:
    stop = Stop()
    threading.Timer(1.0, stop.set).start()
    assert served(prepared, arguments=("never_ready",), stop=stop).status == "interrupted"
    assert served(prepared, arguments=("never_ready",), timeout_s=1).status == "timeout"
