"""Engines that compiled where they should have loaded, or set themselves up differently from the other arm."""

from dataclasses import replace

from check_cases import evidence, question, verdict_of

from sparkray.checks.engine_setup import Check
from sparkray.config.experiment import Protocol
from sparkray.records import EngineFacts

CHECK = Check()
WARM = {
    "attention_backend": "FLASH_ATTN",
    "flash_attention": 3.0,
    "compile_cache": "f2026c342c",
    "compile_state": "warm",
    "kv_cache_tokens": 326528.0,
}
EARLIER = [{name: value for name, value in WARM.items() if name != "compile_state"} | {"environment": "native"}] * 2


def run(protocol=None, earlier=EARLIER, **changes):
    one = evidence(question(protocol=protocol)) if protocol else evidence()
    facts = EngineFacts(reported={name: value for name, value in (WARM | changes).items() if value is not None})
    study = replace(one.study, engine="vllm")
    return replace(one, study=study, measurement=replace(one.measurement, facts=facts), earlier=earlier)


def test_a_start_like_the_others_passes():
    found = verdict_of(CHECK, run())
    assert found.verdict == "pass"
    assert "KV cache in tokens 326528" in found.evidence


def test_each_difference_between_arms_is_invalid_with_both_values():
    for column, other, shown in (
        ("compile_cache", "6b3d062284", "hash of the compile cache is 6b3d062284, in 2 of 2 earlier runs f2026c342c"),
        ("attention_backend", "TRITON_ATTN", "attention backend is TRITON_ATTN, in 2 of 2 earlier runs FLASH_ATTN"),
        ("flash_attention", 2.0, "version of FlashAttention is 2, in 2 of 2 earlier runs 3"),
        ("kv_cache_tokens", 324656.0, "KV cache in tokens is 324656, in 2 of 2 earlier runs 326528"),
        ("kv_cache_tokens", None, "KV cache in tokens is unknown, in 2 of 2 earlier runs 326528"),
    ):
        found = verdict_of(CHECK, run(**{column: other}))
        assert (found.verdict, found.evidence) == ("invalid", shown)


def test_a_counted_run_may_not_compile():
    found = verdict_of(CHECK, run(compile_state="cold", compile_s=17.97, earlier=[]))
    assert (found.verdict, found.evidence) == ("invalid", "the engine compiled its code for 17.97 s")


def test_where_each_run_is_meant_to_compile_a_warm_one_is_invalid():
    cold = Protocol(warm_start="none")
    assert verdict_of(CHECK, run(cold, compile_state="cold")).verdict == "pass"
    assert verdict_of(CHECK, run(cold)).verdict == "invalid"


def test_without_compilation_only_the_rest_is_compared():
    eager = [{"attention_backend": "FLASH_ATTN", "kv_cache_tokens": 1954208}]
    same = {"compile_state": None, "compile_cache": None, "flash_attention": None, "kv_cache_tokens": 1954208.0}
    assert verdict_of(CHECK, run(earlier=eager, **same)).verdict == "pass"


def test_where_the_cache_is_the_images_own_a_run_compiles_as_the_others_did():
    """A pasted line of vLLM: each fresh container compiles, in both arms, unless the line mounts a cache."""
    for earlier, state, verdict in (("cold", "cold", "pass"), ("cold", "warm", "invalid"), ("warm", "cold", "invalid")):
        pasted = run(earlier=[one | {"compile_state": earlier} for one in EARLIER], compile_state=state)
        pasted = replace(pasted, study=replace(pasted.study, engine="server:vllm"))
        found = verdict_of(CHECK, pasted)
        assert found.verdict == verdict
        assert verdict == "pass" or f"compiled code is {state}, in 2 of 2 earlier runs {earlier}" in found.evidence


def test_an_arm_that_no_longer_reports_its_setup_is_invalid():
    silent = dict.fromkeys(WARM)
    assert verdict_of(CHECK, run(**silent)).verdict == "invalid"


def test_an_engine_that_reports_no_setup_is_not_judged():
    assert CHECK.judge(evidence()) is None
