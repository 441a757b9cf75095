"""The JSON form of the study before this one: `{"models": {NAME: {ENVIRONMENT: [RUN, ...]}}}`."""

from collections.abc import Iterable, Mapping
from typing import Any

from sparkray.audit.content import Content
from sparkray.audit.finding import NotJudged
from sparkray.audit.reading import Asked, Reading
from sparkray.audit.results import Claim, Results
from sparkray.audit.rows import Row
from sparkray.audit.statuses import OK, status_of
from sparkray.audit.table import results_of
from sparkray.audit.values import integer, number, text
from sparkray.errors import DatasetError

LABEL = "study JSON"
TRIED = "a study made again from the published table of the study before this one"
STUDY_SITE = "dgx-spark"
_NAMES = {
    "model_id": "model_id",
    "model_path": "model_path",
    "model_name": "stated_model",
    "iteration": "iteration",
    "timestamp": "started_s",
    "start_temp_celsius": "gpu_temp_start_c",
    "end_temp_celsius": "gpu_temp_end_c",
    "exit_code": "exit_code",
    "throughput": "request_throughput_req_s",
    "output_throughput": "output_throughput_tok_s",
    "latency": "latency_mean_ms",
    "peak_memory": "engine_reported_peak_gib",
    "kv_cache": "kv_cache_gib",
    "environment": "stated_environment",
}
_NO_METRICS = ("exit_code", "seed", "run", "run_id", "attempt", "index", "id", "stated_environment", "schema")


def read(content: Content, asked: Asked) -> Reading | None:
    """The runs of the file; None where it has no models with environments.

    Raises:
        DatasetError: A map of columns is given, although they are known.
    """
    models = content.tree.get("models") if isinstance(content.tree, Mapping) else None
    if not isinstance(models, Mapping) or not any(isinstance(arms, Mapping) for arms in models.values()):
        return None
    if asked.columns or asked.ignored:
        raise DatasetError(f"{content.path} is no table: its columns are known", "Leave --map and --ignore out")
    return _reading(content.tree, models)


def study_results(document: Any, source: str = "the document") -> Results:  # noqa: ANN401
    """Results from this form, already parsed.

    Raises:
        DatasetError: It has no `models`.
    """
    models = document.get("models") if isinstance(document, Mapping) else None
    if not isinstance(models, Mapping):
        raise DatasetError(
            f"{source} has no models", 'Expected {"models": {NAME: {"native": [RUN, ...], "container": [RUN, ...]}}}'
        )
    reading = _reading(document, models)
    return results_of(reading.label, reading.rows, remarks=reading.remarks, **reading.known)


def _reading(document: Mapping[str, Any], models: Mapping[Any, Any]) -> Reading:
    remarks: list[NotJudged] = []
    rows = list(_study_rows(models, remarks))
    known = {"claims": _claims(document.get("claims")), "default_site": STUDY_SITE}
    return Reading(LABEL, rows, {}, known, tuple(remarks))


def _study_rows(models: Mapping[Any, Any], remarks: list[NotJudged]) -> Iterable[Row]:
    for name, arms in models.items():
        if not isinstance(arms, Mapping):
            remarks.append(NotJudged("dirty_values/model", {"model": text(name)}))
            continue
        for arm, runs in arms.items():
            listed = runs if isinstance(runs, list) else []
            odd = sum(not isinstance(run, Mapping) for run in listed) or (not isinstance(runs, list))
            if odd:
                cell = f"{text(name)} {text(arm)}"
                remarks.append(NotJudged("dirty_values/runs", {"cell": cell, "count": int(odd)}))
            for index, run in enumerate(listed):
                if isinstance(run, Mapping):
                    yield _study_row(run, str(name), str(arm), index)


def _study_row(run: Row, model: str, environment: str, index: int) -> Row:
    unknown = {key: value for key, value in run.items() if key not in _NAMES and key not in _NO_METRICS}
    known = {ours: run.get(name) for name, ours in _NAMES.items() if ours not in _NO_METRICS}
    return {
        **unknown,
        **known,
        "row": f"{model}/{environment}[{index}]",
        "model": model,
        "model_name": model,
        "environment": environment,
        "status": status_of(run.get("exit_code"), "codes") or OK,
    }


def _claims(listed: Any) -> tuple[Claim, ...] | None:  # noqa: ANN401
    """`claims`: objects of `kind` (difference, equality), `text`, `metric`, `p`, `n`, `correction`, `equivalence_test`."""
    if not isinstance(listed, list):
        return None
    return tuple(
        Claim(
            kind=text(claim.get("kind")) or "difference",
            text=text(claim.get("text")) or "",
            metric=text(claim.get("metric")),
            p=number(claim.get("p")),
            n=integer(claim.get("n")),
            correction=text(claim.get("correction")) or "",
            equivalence_test=text(claim.get("equivalence_test")) or "",
        )
        for claim in listed
        if isinstance(claim, Mapping)
    )
