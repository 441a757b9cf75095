"""The server that every machine has, for real: in a chroot, behind a published port, and on the host's network."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import docker
import pytest
from real_machine import require_root
from small_bench import BASELINE, bench_of, run, study_of
from test_serve import LOAD, QUIET

from sparkray.catalog import Catalog, data_root
from sparkray.engines import load_engine
from sparkray.execute.prepared_host import PreparedHost
from sparkray.images.rootfs import Images
from sparkray.plan import Treatment

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.usefixtures("machine_lock")]

ON_HOST = Treatment("container_host_network", replace(BASELINE.options, network="host"), BASELINE.adapt)
OTHER_IMAGE = Treatment("container_other_image", BASELINE.options, BASELINE.adapt, image="sparkray-test/other:1")
CUT_OFF = Treatment("container_cut_off", replace(BASELINE.options, network="none"), BASELINE.adapt)
REACHED = {
    "native": ("host", "", "python3"),
    "container_baseline": ("own", r"127\.0\.0\.1:(\d+)->\1/tcp", "docker-proxy"),
    "container_host_network": ("host", "", "python3"),
    "container_other_image": ("own", r"127\.0\.0\.1:(\d+)->\1/tcp", "docker-proxy"),
}
_DOCKERFILE = """
FROM {base}
ENV OTHER=1
RUN ["/opt/sparkray/bin/python3", "-c", "open('/other', 'w').write('1')"]
"""


@pytest.fixture(scope="module")
def prepared(
    machine_lock: None, client: docker.DockerClient, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PreparedHost]:
    require_root("native")
    base = Images(client, cache).from_venv().reference
    client.images.build(fileobj=BytesIO(_DOCKERFILE.format(base=base).encode()), tag=OTHER_IMAGE.image, rm=True)
    card = Catalog(data_root()).select(("SmolLM2-135M",))[0]
    options = load_engine("llamacpp-server").options({"arguments": ("--threads", "1")}, "test")
    study = study_of(card, environments=("native", "container_baseline"))
    study = replace(
        study,
        experiment=replace(study.experiment, workload=LOAD, checks=QUIET, max_attempts=1),
        treatments=(*study.treatments, ON_HOST, OTHER_IMAGE, CUT_OFF),
        engine="llamacpp-server",
        engine_options=options,
    )
    yield bench_of(study, tmp_path_factory.mktemp("arms") / "results", cache)
    client.images.remove(OTHER_IMAGE.image, force=True)


@pytest.mark.parametrize("environment", REACHED)
def test_a_real_server_is_reached_in_every_arm(prepared: PreparedHost, environment: str) -> None:
    outcome = run(prepared, environment)
    assert outcome.status == "ok", outcome.row["reason"]
    row = outcome.row
    assert [(r.input_tokens, r.output_tokens) for r in outcome.requests] == [(8, 6)] * 5
    assert row["model_sha256"] == prepared.weights["SmolLM2-135M"].sha256
    assert (row["engine_version"].split()[0], row["model_architecture"]) == ("xllamacpp", "llama")
    assert min(row[name] for name in ("kv_cache_gib", "ttft_mean_ms", "itl_mean_ms", "container_to_ready_s")) > 0
    mode, published, route = REACHED[environment]
    assert (row["network_mode"], row["network_route"]) == (mode, route)
    assert re.fullmatch(published, row["network_published"] or "")
    port = json.loads(row["engine_command"])[json.loads(row["engine_command"]).index("--port") + 1]
    assert (f"--publish=127.0.0.1:{port}:{port}" in (row["docker_command"] or "")) == bool(published)


def test_an_arm_of_another_image_runs_its_files_and_the_others_the_same(prepared: PreparedHost) -> None:
    rows = {row["environment"]: row for row in prepared.history.every}
    assert rows["native"]["rootfs_digest"] == rows["container_baseline"]["rootfs_digest"]
    other = rows[OTHER_IMAGE.environment]
    assert (other["image"], other["status"]) == (OTHER_IMAGE.image, "ok")
    assert other["rootfs_digest"] == prepared.expected_digest(OTHER_IMAGE.environment)
    for column in ("rootfs_digest", "image_digest"):
        assert other[column] != rows["native"][column]
    assert json.loads(other["effective_state"])["environment"]["OTHER"] == "1"


def test_a_container_that_nobody_can_reach_is_not_started(prepared: PreparedHost) -> None:
    outcome = run(prepared, CUT_OFF.environment)
    assert outcome.status == "unready"
    assert "--network=none: its server cannot be reached" in outcome.row["reason"]
