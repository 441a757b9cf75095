"""What is known of a run when it has ended, put together for the checks."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sparkray.checks import Asked, Evidence, Row, judge_all, refused_before
from sparkray.config.site import HOST
from sparkray.errors import DatasetError
from sparkray.execute.arms import Arm
from sparkray.execute.layout import inside_paths, job_of
from sparkray.execute.prepared_host import PreparedHost
from sparkray.plan import PlannedRun
from sparkray.records import Measurement, Outcome, Verdict
from sparkray.runtimes import Launch
from sparkray.store import Dataset


def verify(
    prepared: PreparedHost,
    planned: PlannedRun,
    launch: Launch,
    *,
    measurement: Measurement,
    outcome: Outcome,
    state: Mapping[str, Any],
) -> tuple[Verdict, ...]:
    """Every check's verdict on one run.

    Args:
        prepared: Has what was expected of it.
        planned: The run.
        launch: What was started.
        measurement: What the engine left.
        outcome: The row so far and the samples.
        state: The effective state of the engine's process.
    """
    earlier: list[Row] = prepared.history.of(planned)
    evidence = Evidence(
        prepared.study,
        planned,
        measurement,
        row=outcome.row,
        samples=outcome.samples,
        state=state,
        asked=_asked(prepared, planned, launch, measurement),
        earlier=earlier,
        of_machine=prepared.history.every,
        refused_by=_refused_by(prepared.dataset, planned.run_id),
    )
    return judge_all(evidence)


def _refused_by(dataset: Dataset, run_id: str) -> frozenset[str]:
    """Checks that refused this run before; none where the file cannot be read."""
    try:
        return refused_before(dataset.read("checks", run_id=run_id))
    except DatasetError:
        return frozenset()


def _asked(prepared: PreparedHost, planned: PlannedRun, launch: Launch, measurement: Measurement) -> Asked:
    arm = prepared.arms[planned.environment]
    weights = prepared.weights[planned.model]
    job = job_of(prepared.study, planned, arm.tool)
    inside = inside_paths(job.card, prepared.engine).model
    model_path = str(weights.path) if planned.environment == HOST else inside
    return Asked(
        rootfs_digest=prepared.expected_digest(planned.environment),
        model_sha256=weights.sha256,
        weights_digest=weights.digest,
        mismatches=prepared.engine.identity(measurement, job, model_path=model_path),
        environment=_environment_of(arm, launch),
        start=asdict(arm.start),
        options=launch.options,
    )


def _environment_of(arm: Arm, launch: Launch) -> dict[str, str]:
    """Every variable that the engine's process must have: under Docker the image's own come first."""
    inherited = arm.image.environment if arm.image and arm.treatment.in_container else {}
    return {**inherited, **launch.environment}
