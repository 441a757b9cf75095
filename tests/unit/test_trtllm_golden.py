"""The whole command of every model and version, held by files under `tests/golden/trtllm`.

When a change is meant, write them anew and read the difference before committing it:

    python tests/unit/test_trtllm_golden.py
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from trtllm_samples import PATHS, cards, job

from sparkray.engines import load_engine

GOLDEN = Path(__file__).parents[1] / "golden" / "trtllm"
VERSIONS = ("1.0", "1.1", "1.2", "1.3")
HOW = "if this is meant: python tests/unit/test_trtllm_golden.py, then read the difference"


def command_of(name, version, **options):
    """Everything that fixes a run: the command, its environment, the options file, the hash of the prompts."""
    asked = job(name, version=version, requests=1000, **options)
    command = load_engine("trtllm").command(asked, replace(PATHS, model=f"/models/{asked.card.weights.path}"))
    return {
        "argv": list(command.argv),
        "environment": dict(command.environment),
        "llm_api_options": json.loads(command.inputs["llm_api_options.yaml"]),
        "dataset_sha256": command.dataset_sha256,
    }


def document(version):
    return {
        **{card.name: command_of(card.name, version) for card in cards()},
        "Llama-3-8B, kv_cache: fixed, iteration_log": command_of(
            "Llama-3-8B", version, kv_cache="fixed", iteration_log=True
        ),
    }


def kept(version):
    return json.loads((GOLDEN / f"{version}.json").read_text())


@pytest.mark.parametrize("version", VERSIONS)
def test_commands_are_as_kept(version):
    built, known = document(version), kept(version)
    assert set(built) == set(known), HOW
    for name, command in built.items():
        assert command == known[name], f"{name}: {HOW}"


def test_the_kept_ones_hold_every_model_once_and_differ():
    for version in VERSIONS:
        names = [command["argv"][command["argv"].index("--model") + 1] for command in kept(version).values()]
        assert len(set(names)) == 10
        hashes = {name: command["dataset_sha256"] for name, command in kept(version).items()}
        assert len(set(hashes.values())) >= 8  # one vocabulary, one file


def test_versions_differ_where_they_must_and_nowhere_else():
    plain = {version: kept(version)["Llama-3-8B"]["argv"] for version in VERSIONS}
    assert plain["1.0"] == plain["1.1"] == plain["1.2"]
    assert [word for word in plain["1.3"] if word not in plain["1.2"]] == ["--no-telemetry"]


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for each in VERSIONS:
        (GOLDEN / f"{each}.json").write_text(json.dumps(document(each), indent=1) + "\n")
