"""The recipe of `trtllm-serve`: its commands by version, held by the page that shows them, and what it refuses.

When a change is meant, write the page anew and read the difference: `python tests/unit/test_trtllm_serve.py`
"""

import json
import shlex
from pathlib import Path

import pytest

from sparkray.config.boundary import read_yaml
from sparkray.engines._trtllm.serve import Serving, read_recipe, render
from sparkray.errors import ConfigError

ROOT = Path(__file__).parents[2]
RECIPE, PAGE = ROOT / "conf/engines/trtllm-serve.yaml", ROOT / "docs/reference/trtllm-serve.md"
BEGIN, END = "<!-- generated: trtllm-serve -->\n", "<!-- end -->"
SERVING = Serving("/models/Llama-3.1-8B-Instruct-FP8", "/in/options.yaml", requests=1002)


def recipe(**changes):
    return read_recipe({**read_yaml(RECIPE), **changes}, "test")


def shown():
    parts = []
    for version in recipe().versions:
        made = render(recipe(), version, SERVING)
        variables = "".join(f"{name}={value} " for name, value in made.environment.items())
        parts += [
            f"### {version}\n",
            f"```bash\n{variables}{shlex.join(made.argv)}\n```\n",
            f"`/in/options.yaml`:\n\n```json\n{made.options_file.decode()}```\n",
            f"Measurements: {', '.join(f'`{path}`' for path in made.metrics)}\n",
        ]
    return "\n" + "\n".join(parts) + "\n"


def test_the_page_shows_the_commands():
    assert PAGE.read_text().partition(BEGIN)[2].partition(END)[0] == shown()


def test_what_differs_between_versions():
    made = {version: render(recipe(), version, SERVING) for version in ("1.1", "1.2.1", "1.3.0rc13", "1.4.0rc1")}
    assert len({command.argv for command in made.values()}) == 1
    assert [command.environment.get("TRTLLM_NO_USAGE_STATS") for command in made.values()] == [None, None, "1", "1"]
    assert ["/energy_metrics" in command.metrics for command in made.values()] == [False, False, True, True]


@pytest.mark.parametrize("version", ["1.1", "1.2", "1.3"])
def test_what_every_version_must_say(version):
    made = render(recipe(), version, SERVING)
    content = json.loads(made.options_file)
    assert made.argv[:3] == ("trtllm-serve", "serve", SERVING.model)
    assert made.argv[made.argv.index("--port") + 1] == "8000"
    assert content["kv_cache_config"]["enable_block_reuse"] is False
    assert content["return_perf_metrics"] is True
    assert content["perf_metrics_max_requests"] == 1002
    assert not {word.removeprefix("--") for word in made.argv} & set(content)
    assert {"/perf_metrics", "/metrics", "/version"} <= set(made.metrics)


@pytest.mark.parametrize("version", ["1.0", "0.20", "newest", ""])
def test_versions_without_a_recipe(version):
    with pytest.raises(ConfigError, match=r"nothing for version"):
        render(recipe(), version, SERVING)


@pytest.mark.parametrize("key", ["port", "kv_cache_config", "perf_metrics_max_requests", "backend"])
def test_no_key_is_set_twice(key):
    with pytest.raises(ConfigError, match=key):
        render(recipe(), "1.2", Serving("/m", "/f", 1, extra={key: 1}))
    assert (
        b"max_batch_size" in render(recipe(), "1.2", Serving("/m", "/f", 1, extra={"max_batch_size": 8})).options_file
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"comand": []}, "comand"),
        ({"versions": {"1.3": {"metrics": ["/nothing"]}}}, "/nothing"),
        ({"versions": {"1.3": {"options_file": {"kv_cache_config": {}}}}}, "kv_cache_config"),
        ({"options": ["--port", "{prot}"]}, "prot"),
    ],
)
def test_recipes_that_are_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        recipe(**changes)


def test_it_is_said_that_it_is_not_run():
    assert recipe().runs_yet is False
    assert "does not run" in PAGE.read_text()


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + shown() + END + rest.partition(END)[2])
