"""Does every arm run the files, weights, engine and prompts that it should?

The plan comes first: the digest of the files of the arm's image, and the hash of the weights computed inside the
environment. Where the plan cannot know a value (checkpoint hash), a run must match most earlier runs of any environment;
in what image and engine options bring (engine version) those of environments with the same ones. A wrong file in one arm
contradicts the plan, so it marks that arm's runs only. A model file includes its vocabulary. Every file of a checkpoint,
tokenizer included, is hashed when a sweep begins, and again before a run where times or sizes have changed.
"""

from collections import Counter
from collections.abc import Iterator

from sparkray.checks import Check as BaseCheck
from sparkray.checks import Evidence
from sparkray.checks._finding import Finding, combined
from sparkray.records import Verdict

_ALIKE = {
    "engine_version": "engine version",
    "model_sha256": "SHA-256 of the model",
    "model_architecture": "architecture",
    "checkpoint_sha256": "SHA-256 of the checkpoint",
    "dataset_sha256": "SHA-256 of the prompts",
}
_OF_IMAGE = ("engine_version", "model_architecture")


_DIFFERS = {
    "files": "the files of this arm are not the image's",
    "checkpoint": "the checkpoint's files changed since the sweep began",
}


class Check(BaseCheck):
    """See the module."""

    name = "identity"
    repeats = True
    remedy = "Find the arm whose files, weights or engine differ from the plan; after an intended change: --fresh"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None without an expected value."""
        return combined(self.name, (*_digests(evidence), *_model(evidence), *_alike(evidence)))


def _digests(evidence: Evidence) -> Iterator[Finding]:
    """This arm's files against the image's, the checkpoint's files against those at the start of the sweep."""
    for what, column, expected in (
        ("files", "rootfs_digest", evidence.asked.rootfs_digest or None),
        ("checkpoint", "weights_digest", evidence.asked.weights_digest),
    ):
        digest = evidence.row.get(column)
        if expected is not None:
            same, differs = f"{what} {digest}", f"{_DIFFERS[what]}: {digest}, expected {expected}"
            yield Finding("pass", same) if digest == expected else Finding("invalid", differs)


def _model(evidence: Evidence) -> Iterator[Finding]:
    """The loaded model, by the hash computed inside the environment and by the engine's report."""
    facts, expected = evidence.measurement.facts, evidence.asked.model_sha256
    if expected is not None and facts.model_sha256 != expected:
        yield Finding("invalid", f"the engine loaded a model with SHA-256 {facts.model_sha256}, not {expected}")
    elif evidence.asked.mismatches:
        yield from (Finding("invalid", mismatch) for mismatch in evidence.asked.mismatches)
    elif known := facts.model_sha256 or facts.model_path:
        yield Finding("pass", f"model {known}")


def _alike(evidence: Evidence) -> Iterator[Finding]:
    """Values against those of most earlier runs; the plan's hash of the weights takes precedence."""
    facts = evidence.measurement.facts
    reported = {
        **evidence.row,
        "engine_version": facts.version,
        "model_sha256": facts.model_sha256 if evidence.asked.model_sha256 is None else None,
        "model_architecture": facts.model_architecture,
    }
    for column, what in _ALIKE.items():
        earlier = evidence.earlier_alike if column in _OF_IMAGE else evidence.earlier
        shown = Counter(value for row in earlier if (value := row.get(column)) is not None)
        value = reported.get(column)
        if value is None or not shown:
            continue
        usual, count = shown.most_common(1)[0]
        if value == usual:
            yield Finding("pass", f"{what} as in {count} earlier runs")
        else:
            yield Finding("invalid", f"{what} is {value}, in {count} of {shown.total()} earlier runs {usual}")
