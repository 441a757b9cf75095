"""Is it the same thing that runs in every arm? The same files, the same weights, the same engine, the same prompts.

What was planned comes first: the digest of the arm's own files, and the hash of the weights taken inside the environment.
Where the plan cannot know a value before (an engine's version, a checkpoint's hash), a run must show what the runs before
it showed, whatever their environment. A wrong file in one arm is told by the plan, so it marks the runs of that arm and
no others. The vocabulary of a model file lies within it. A checkpoint is a folder: every file of it, weights and tokenizer
too, is hashed when a sweep begins, and again before a run where its times or sizes have moved since.
"""

from collections import Counter
from collections.abc import Iterator

from sparkray.checks import Evidence
from sparkray.checks._finding import Finding, combined
from sparkray.config.experiment import Policy
from sparkray.records import Verdict

_ALIKE = {
    "engine_version": "engine version",
    "model_sha256": "SHA-256 of the model",
    "model_architecture": "architecture",
    "checkpoint_sha256": "SHA-256 of the checkpoint",
    "dataset_sha256": "SHA-256 of the prompts",
}


class Check:
    """See the module."""

    name = "identity"
    policy: Policy = "invalid"
    remedy = (
        "Find out which arm's files, weights or engine are not those that were planned; after a wanted change: --fresh"
    )

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None where neither the plan nor an earlier run says what to expect."""
        return combined(self.name, (*_files(evidence), *_model(evidence), *_checkpoint(evidence), *_alike(evidence)))


def _files(evidence: Evidence) -> Iterator[Finding]:
    """Every arm runs the same bits: the digest of this arm's own files is that of the image."""
    expected, found = evidence.asked.rootfs_digest, evidence.row.get("rootfs_digest")
    if not expected:
        return
    if found == expected:
        yield Finding("pass", f"files {found}")
    else:
        yield Finding("invalid", f"the files of this arm are not the image's: {found}, expected {expected}")


def _model(evidence: Evidence) -> Iterator[Finding]:
    """The engine loaded the model that was meant: by the hash taken inside the environment, and by its own report."""
    facts, expected = evidence.measurement.facts, evidence.asked.model_sha256
    if expected is not None and facts.model_sha256 != expected:
        yield Finding("invalid", f"the engine loaded a model with SHA-256 {facts.model_sha256}, not {expected}")
    elif evidence.asked.mismatches:
        yield from (Finding("invalid", mismatch) for mismatch in evidence.asked.mismatches)
    elif known := facts.model_sha256 or facts.model_path:
        yield Finding("pass", f"model {known}")


def _checkpoint(evidence: Evidence) -> Iterator[Finding]:
    """The files that the engine was given are those that the sweep began with."""
    expected, found = evidence.asked.weights_digest, evidence.row.get("weights_digest")
    if expected is None:
        return
    if found == expected:
        yield Finding("pass", f"checkpoint {found}")
    else:
        yield Finding(
            "invalid", f"the checkpoint's files are no longer those of the sweep: {found}, expected {expected}"
        )


def _alike(evidence: Evidence) -> Iterator[Finding]:
    """What most of the earlier runs showed; the plan's word on the weights stands above theirs."""
    facts = evidence.measurement.facts
    told = {
        **evidence.row,
        "engine_version": facts.version,
        "model_sha256": facts.model_sha256 if evidence.asked.model_sha256 is None else None,
        "model_architecture": facts.model_architecture,
    }
    for column, what in _ALIKE.items():
        shown = Counter(value for row in evidence.earlier if (value := row.get(column)) is not None)
        found = told.get(column)
        if found is None or not shown:
            continue
        usual, count = shown.most_common(1)[0]
        if found == usual:
            yield Finding("pass", f"{what} as in {count} earlier runs")
        else:
            yield Finding("invalid", f"{what} is {found}, in {count} of {shown.total()} earlier runs {usual}")
