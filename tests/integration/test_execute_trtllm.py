"""A run of the simulated trtllm-bench that fails at its end: what it had shown by then is kept."""

import builders
import pytest

from sparkray.catalog import Catalog, data_root
from sparkray.config.experiment import Workload
from sparkray.engines import load_engine
from sparkray.execute.prepared_host import prepare_host
from sparkray.execute.run import run_once
from sparkray.machine.fingerprint import fingerprint
from sparkray.plan import Study, Treatment, definition_sha256, make_plan
from sparkray.runtimes import Stop
from sparkray.store import open_dataset

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.usefixtures("machine_lock")]


def test_what_a_failed_run_left_is_salvaged(tmp_path):
    """NVML fails while the report is written: status 1, 0 bytes. The requests survive, the run does not count."""
    catalog = Catalog(data_root())
    card = catalog.card("Qwen2-1.5B")
    study = Study(
        builders.experiment(
            models=(card.name,),
            environments=("native",),
            runs=1,
            workload=Workload(requests=20, input_tokens=8, output_tokens=6),
            timeout_s=120,
        ),
        catalog.site("dgx-spark-simulated"),
        (card,),
        (Treatment("native"),),
        "trtllm",
        load_engine("trtllm").options({"version": "1.3", "nvml_shim": False}, "test"),
    )
    dataset = open_dataset(tmp_path / "results", study.experiment.name, definition_sha256(study))
    prepared = prepare_host(study, fingerprint(), dataset, lambda _: None, cache=tmp_path / "cache")
    outcome = run_once(prepared, make_plan(study)[0], Stop(), lambda _: None)
    [row] = dataset.read("runs")
    assert outcome.status == row["status"] == "failed"
    assert "NVML" in row["reason"]
    assert row["kv_cache_gib"] is not None
