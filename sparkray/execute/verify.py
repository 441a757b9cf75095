"""What every run must show before its numbers are believed: the right files, the right model, the right start. Pure.

Each verdict is stored with the run. These come first, since without them a comparison would be of two different things;
the checks of the room `checks` follow, each where it has something to judge by.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sparkray.checks import Evidence, check_names, load_check
from sparkray.execute.bench import Bench
from sparkray.execute.layout import inside_paths, job_of
from sparkray.plan import PlannedRun
from sparkray.records import Measurement, Verdict
from sparkray.runtimes import MARKER
from sparkray.runtimes._readback import differences
from sparkray.spec.site import HOST

_IDENTITY, _START, _ENVIRONMENT, _TOKENS = "identity", "start_state", "environment", "tokens"


def verify(
    bench: Bench,
    planned: PlannedRun,
    measurement: Measurement,
    state: Mapping[str, Any],
    rootfs_digest: str,
) -> tuple[Verdict, ...]:
    """Every check's verdict on one run."""
    weights = bench.weights[planned.model]
    job = job_of(bench.study, planned, bench.arms[planned.environment].tool)
    inside = inside_paths(job.card, bench.engine).model
    model_path = str(weights.path) if planned.environment == HOST else inside
    of_checks = (load_check(name).judge(Evidence(bench.study, planned, measurement)) for name in check_names())
    return (
        check_files(rootfs_digest, bench.expected_digest),
        check_model(measurement, weights.sha256, bench.engine.identity(measurement, job, model_path=model_path)),
        check_start(asdict(bench.arms[planned.environment].start), state),
        check_tokens(measurement, bench.study.experiment.workload.lengths(bench.study.experiment.seed)),
        *(verdict for verdict in of_checks if verdict is not None),
    )


def check_files(found: str, expected: str) -> Verdict:
    """Every arm runs the same bits: the digest of this arm's own files is that of the image."""
    if found == expected:
        return Verdict(_IDENTITY, "pass", f"files {found}")
    return Verdict(_IDENTITY, "invalid", f"the files of this arm are not the image's: {found}, expected {expected}")


def check_model(measurement: Measurement, sha256: str | None, mismatches: tuple[str, ...]) -> Verdict:
    """The engine loaded the model that was meant: by the hash taken inside the environment, and by its own report."""
    facts = measurement.facts
    if sha256 is not None and facts.model_sha256 != sha256:
        return Verdict(
            _IDENTITY, "invalid", f"the engine loaded a model with SHA-256 {facts.model_sha256}, not {sha256}"
        )
    if mismatches:
        return Verdict(_IDENTITY, "invalid", "; ".join(mismatches))
    return Verdict(_IDENTITY, "pass", f"model {facts.model_sha256 or facts.model_path}")


def check_start(declared: Mapping[str, Any], state: Mapping[str, Any]) -> Verdict:
    """The process began from the state that was declared; nothing of its parent leaked."""
    if not state:
        return Verdict(_START, "invalid", "the engine's process had ended before its state could be read")
    wrong = differences(declared, state)
    return Verdict(_START, "invalid" if wrong else "pass", "; ".join(wrong) or "as declared")


def check_environment(declared: Mapping[str, str], state: Mapping[str, Any]) -> Verdict:
    """The process has the variables that were declared and no others, apart from those that Docker makes itself."""
    found = state.get("environment")
    if found is None:
        return Verdict(_ENVIRONMENT, "warn", "the environment could not be read back")
    own = {MARKER, "HOSTNAME", "HOME", "PATH", "TERM", "container"}
    wrong = [
        f"{name} is {found.get(name)!r}, declared {declared.get(name)!r}"
        for name in sorted({*found, *declared} - own)
        if found.get(name) != declared.get(name)
    ]
    return Verdict(
        _ENVIRONMENT, "invalid" if wrong else "pass", "; ".join(wrong) or f"{len(found)} variables as declared"
    )


def check_tokens(measurement: Measurement, lengths: tuple[tuple[int, int], ...]) -> Verdict:
    """The engine counted the tokens it was given and generated those it was asked for, over all requests that count."""
    found = sorted((r.input_tokens, r.output_tokens) for r in measurement.requests if not r.warmup)
    if found != sorted(lengths):
        return Verdict(
            _TOKENS,
            "invalid",
            f"{len(found)} requests of {sum(i for i, _ in found)} tokens in and {sum(o for _, o in found)} out, "
            f"asked for were {len(lengths)} of {sum(i for i, _ in lengths)} and {sum(o for _, o in lengths)}",
        )
    return Verdict(_TOKENS, "pass", f"{len(found)} requests, tokens in and out as asked for")
