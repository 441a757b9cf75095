"""The engine that every machine has, for real and in every arm: a small model, seconds a run."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from real_machine import require_root
from small_bench import NEIGHBOURLY, bench_of, run, study_of

from sparkray.catalog import Catalog, data_root
from sparkray.catalog.weights import cache_folder, locate
from sparkray.config.model import Weights
from sparkray.engines import load_engine
from sparkray.execute.prepared_host import PreparedHost

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.usefixtures("machine_lock")]

CUT_BYTES = 4_000_000

CLOCK_TICK_S = 0.011  # an engine tells its lifetime from a start time that the kernel keeps in clock ticks of 10 ms


@pytest.fixture(scope="module")
def prepared(machine_lock: None, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedHost:
    """The model that ships as a card, whole and cut off. It is fetched once, into the user's own cache."""
    require_root("native")
    folder = tmp_path_factory.mktemp("llamacpp")
    card = Catalog(data_root()).select(("SmolLM2-135M",))[0]
    whole = locate(card, Path("/"), cache_folder()).path
    cut = folder / "cut.gguf"
    with whole.open("rb") as model:
        cut.write_bytes(model.read(CUT_BYTES))
    cards = [
        replace(card, name=name, weights=Weights(kind="file", path=str(path)))
        for name, path in (("Whole", whole), ("Cut", cut))
    ]
    options = load_engine("llamacpp").options({}, "test")
    study = study_of(*cards, engine="llamacpp", engine_options=options)
    neighbourly = replace(study.experiment, checks=NEIGHBOURLY)
    return bench_of(replace(study, experiment=neighbourly), folder / "results", cache)


def test_a_real_run_is_ok(prepared: PreparedHost) -> None:
    """In a chroot; tests/e2e/test_sweep.py has one of every arm."""
    outcome = run(prepared, "native", "Whole")
    assert outcome.status == "ok", outcome.row["reason"]
    assert outcome.row["simulated"] is False
    assert outcome.row["model_architecture"] == "llama"
    assert outcome.row["model_sha256"] == prepared.weights["Whole"].sha256
    assert outcome.row["engine_version"].startswith("xllamacpp ")
    assert [r.output_tokens for r in outcome.requests] == [6] * 5
    assert outcome.row["output_throughput_tok_s"] > 0
    assert outcome.row["kv_cache_gib"] > 0
    assert (
        0 < outcome.row["engine_load_s"] < outcome.row["engine_lifetime_s"] < outcome.row["duration_s"] + CLOCK_TICK_S
    )


def test_a_model_that_is_cut_off_fails_in_the_engines_words(prepared: PreparedHost) -> None:
    outcome = run(prepared, "container_baseline", "Cut")
    assert outcome.status == "failed"
    assert re.search(
        r"ended with status 1: llama\.cpp could not load the model: .*error loading model: tensor '\S+' data is not "
        r"within the file bounds, model is corrupted or incomplete",
        outcome.row["reason"],
    ), outcome.row["reason"]
    logs = [path.read_text() for path in (prepared.dataset.path / "logs").glob(f"{outcome.row['run_id']}-*.log")]
    assert any("exiting due to model loading error" in log for log in logs)
    assert outcome.row["output_throughput_tok_s"] is None
