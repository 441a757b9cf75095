"""Did the engine set itself up alike in every arm, and load its compiled code instead of compiling?

An engine that compiles keys its cache by its own settings and by variables such as CXX. Where one arm has another key it
compiles again, starts later, and has less memory for its KV cache: a difference that is no cost of the container. So the
hash of the compile cache, the attention backend and the tokens of the KV cache must match those of most earlier runs of
the same model and level, in any environment of the same image and engine options, and no counted run may compile unless
each is meant to (`protocol.warm_start: none`). Where sparkray does not keep the cache (a pasted `docker run` line), a run
must compile where most earlier ones did, and load where they did.
"""

from collections import Counter
from collections.abc import Iterator

from sparkray.checks import Check as BaseCheck
from sparkray.checks import Evidence
from sparkray.checks._finding import Finding, combined
from sparkray.engines import Caching, load_engine
from sparkray.records import Verdict

_ALIKE = {
    "compile_cache": "hash of the compile cache",
    "attention_backend": "attention backend",
    "flash_attention": "version of FlashAttention",
    "kv_cache_tokens": "KV cache in tokens",
}


class Check(BaseCheck):
    """See the module. Engines that report no attention backend are not judged."""

    name = "engine_setup"
    remedy = "Compare `logs/` of both arms; give every arm the same variables (CC, CXX), and each its warm start"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None for an engine that does not report its setup."""
        rows = (evidence.measurement.facts.reported, *evidence.earlier_alike)
        if all(row.get("attention_backend") is None for row in rows):
            return None
        return combined(self.name, (*_compiled(evidence), *_alike(evidence)))


def _compiled(evidence: Evidence) -> Iterator[Finding]:
    state = evidence.measurement.facts.reported.get("compile_state")
    if state is None or not _keeps_a_cache(evidence):
        return
    cold = state == "cold"
    meant = evidence.study.experiment.protocol.warm_start == "none"
    if cold == meant:
        yield Finding("pass", "compiled, as every run does" if cold else "compiled code loaded from the cache")
    elif cold:
        took = evidence.measurement.facts.reported.get("compile_s")
        yield Finding("invalid", "the engine compiled its code" + (f" for {took:g} s" if took else ""))
    else:
        yield Finding("invalid", "compiled code loaded from a cache, although each run has an empty one")


def _keeps_a_cache(evidence: Evidence) -> bool:
    """Whether the cache is sparkray's to keep. That of a pasted line is what its image and its mounts make of it."""
    return isinstance(load_engine(evidence.study.engine), Caching)


def _alike(evidence: Evidence) -> Iterator[Finding]:
    state = {} if _keeps_a_cache(evidence) else {"compile_state": "compiled code"}
    for column, what in {**_ALIKE, **state}.items():
        value = evidence.measurement.facts.reported.get(column)
        shown = Counter(found for row in evidence.earlier_alike if (found := row.get(column)) is not None)
        if value is None and not shown:
            continue
        usual, count = shown.most_common(1)[0] if shown else (value, 0)
        if value == usual:
            yield Finding("pass", f"{what} {_shown(value)}")
        else:
            yield Finding(
                "invalid", f"{what} is {_shown(value)}, in {count} of {shown.total()} earlier runs {_shown(usual)}"
            )


def _shown(value: object) -> str:
    """A number as the log has it: counts have no fraction."""
    if value is None:
        return "unknown"
    return f"{value:.0f}" if isinstance(value, float) else str(value)
