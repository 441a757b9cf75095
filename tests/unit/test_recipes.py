"""Recipes of servers: their commands, held by the page that shows them, what their logs tell, and what is refused.

When a change is meant, write the page anew and read the difference: `python tests/unit/test_recipes.py`
"""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from sparkray.catalog import Catalog, data_root, read_yaml
from sparkray.config.experiment import Workload
from sparkray.config.recipe import counters, recipe_of
from sparkray.engines import Job, Paths, Server, load_engine
from sparkray.engines.server import facts_of_log
from sparkray.errors import ConfigError, InputError
from sparkray.workflows.options import Options, build_study

ROOT = Path(__file__).parents[2]
PAGE, LOGS = ROOT / "docs/reference/servers.md", ROOT / "tests/golden/servers"
BEGIN, END = "<!-- generated: servers -->\n", "<!-- end -->"
NAMES = sorted(Catalog(data_root()).recipe_files())
LOAD = Workload(kind="serve", requests=100, input_tokens=128, output_tokens=128, concurrency=8)
PATHS = Paths("/models/Llama-3.1-8B-Instruct-FP8", "/in", "/out", "python3", "/workers")
SPARKRUN = """
recipe_version: "2"
model: nvidia/Nemotron-30B
runtime: vllm
container: scitrera/dgx-spark-vllm:0.16.0
max_nodes: 1
metadata: {description: A model., maintainer: somebody}
defaults: {port: 8000, host: 0.0.0.0, max_model_len: 32768, gpu_memory_utilization: 0.8, unheard: 1}
env: {VLLM_USE_V1: 1}
command: |
  vllm serve {model} \\
    --max-model-len {max_model_len} --port {port} --host {host} --gpu-memory-utilization {gpu_memory_utilization}
"""


def commanded(name, version="", **options):
    engine = load_engine(name)
    card = Catalog(data_root()).card("Llama-3.1-8B-FP8")
    tool = {"version": version} if version else {}
    return engine.command(Job(card, LOAD, seed=1, options=engine.options(options, "test"), tool=tool), PATHS)


def shown():
    parts = []
    for name in NAMES:
        recipe, made = Catalog(data_root()).recipe(name), commanded(name, "1.3.0")
        variables = "".join(f"{key}={value} " for key, value in made.environment.items())
        runs = (
            "; ".join(f"{run.version}, {run.where}: {run.what}" for run in recipe.verified) or "never run by sparkray"
        )
        parts += [
            f"### {name}\n",
            f"{recipe.description} Image: `{recipe.image}`. Run: {runs}. From: {recipe.source}.\n",
            *([f"Neither documented nor seen: {recipe.unverified}.\n"] if recipe.unverified else []),
            *([f"Needs: {', '.join(f'`{name}`' for name in recipe.needs)}.\n"] if recipe.needs else []),
            f"```bash\n{variables}{shlex.join(made.argv)}\n```\n",
            *(f"`/in/{file}`:\n\n```json\n{content.decode()}```\n" for file, content in made.inputs.items()),
        ]
    return "\n" + "\n".join(parts) + "\n"


def test_the_page_shows_the_commands():
    assert PAGE.read_text().partition(BEGIN)[2].partition(END)[0] == shown()


def test_versions_of_trtllm_serve_differ_as_its_sources_do():
    made = {version: commanded("trtllm-serve", version) for version in ("1.1", "1.2.1", "1.3.0rc13", "1.4.0rc1")}
    assert len({command.argv for command in made.values()}) == 1
    assert [each.environment.get("TRTLLM_NO_USAGE_STATS") for each in made.values()] == [None, None, "1", "1"]
    files = [json.loads(each.inputs["options.yaml"]) for each in made.values()]
    assert ["enable_energy_metrics" in each for each in files] == [False, False, True, True]
    assert [each["perf_metrics_max_requests"] for each in files] == [102] * 4
    assert not {word.removeprefix("--") for word in made["1.3.0rc13"].argv} & set(files[2]), "a key in two places"


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        (
            "vllm",
            {
                "version": "0.26.0",
                "architecture": "Qwen2ForCausalLM",
                "context_length": 256,
                "kv_cache_gib": 52.45,
                "kv_cache_tokens": 1964080,
                "weights_gib": 2.98,
                "load_s": 2.371558,
            },
        ),
        ("llamacpp-server", {"version": "xllamacpp 2026.10.11549", "architecture": "llama", "kv_cache_mib": 5.62}),
        ("trtllm-serve", {"kv_cache_gib": 44.31, "kv_cache_tokens": 362976}),
    ],
)
def test_what_a_log_of_a_real_run_tells(name, facts):
    assert facts_of_log(Catalog(data_root()).recipe(name), (LOGS / f"{name}.log").read_text()) == facts
    assert facts_of_log(Catalog(data_root()).recipe(name), "nothing of it") == {}


def test_what_metrics_of_a_real_run_count():
    text = (LOGS / "vllm-metrics.txt").read_text()
    counted = counters(text, Catalog(data_root()).recipe("vllm").metrics)
    assert counted == {"queue_s": 0.002374682001459405, "queued": 32, "prefix_hits": 0, "prefix_queries": 0}
    assert counters('a{l="x y"} 1\na{l="}"} 2.5e1 17\nab 9\n# a 4\na', {"queued": "a"}) == {"queued": 26}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"comand": []}, r"unknown key 'comand', did you mean 'command'"),
        ({"command": []}, "command"),
        ({"command": ["acme", "--port={prot}"]}, r"\{prot\} is no place"),
        ({"log": {"kv": "x"}}, "log.kv is unknown"),
        ({"log": {"version": "no group"}}, "one group"),
        ({"log": {"version": "("}}, "one group"),
        ({"metrics": {"queue": "x"}}, "metrics.queue is unknown"),
        ({"stop_signal": "SIGNOTHING"}, "SIGNOTHING"),
        ({"readiness": {"path": "/x", "redy": [200]}}, "readiness.redy"),
        ({"versions": {"2": {"options_file": {"a": 1}}}, "options_file": {"a": 2}}, "sets a"),
    ],
)
def test_recipes_that_are_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        recipe_of({"name": "acme", "description": "x", "command": ["acme"], **changes}, "acme.yaml")


def test_a_recipe_of_sparkrun_is_read_as_it_is(tmp_path):
    path = tmp_path / "nemotron.yaml"
    path.write_text(SPARKRUN)
    recipe = recipe_of(read_yaml(path), "nemotron.yaml")
    assert recipe.image == "scitrera/dgx-spark-vllm:0.16.0"
    assert shlex.join(recipe.command) == (
        "vllm serve '{model}' --max-model-len 32768 --port '{port}' --host '{host}' --gpu-memory-utilization 0.8"
    )
    assert (recipe.served_name, recipe.environment) == ("{model}", {"VLLM_USE_V1": "1"})
    assert recipe.unused == ("max_nodes", "defaults.unheard")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_model_len: 32768, ", "", r"\{max_model_len\} in command has no default"),
        ("max_nodes: 1", "min_nodes: 2", "min_nodes 2"),
        ("command: |", "comand: |", "'command' is missing"),
    ],
)
def test_recipes_of_sparkrun_that_cannot_run_here(tmp_path, old, new, said):
    path = tmp_path / "x.yaml"
    path.write_text(SPARKRUN.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        recipe_of(read_yaml(path), "x.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_that_never_ran_says_so(name):
    engine = load_engine(name)
    assert isinstance(engine, Server)
    job = Job(Catalog(data_root()).card("SmolLM2"), LOAD, 1, engine.options({}, "test"))
    warnings = engine.warnings(job)
    assert bool(engine.recipe({}).verified) != any("never run" in warning for warning in warnings)
    needed = [warning for warning in warnings if " needs " in warning]
    assert needed == (["nim needs NGC_API_KEY: --set engine.environment.NGC_API_KEY=VALUE"] if name == "nim" else [])
    given = replace(job, options=engine.options({"environment": {"NGC_API_KEY": "k"}}, "test"))
    assert not [warning for warning in engine.warnings(given) if " needs " in warning]


def test_a_study_holds_the_whole_recipe_of_a_file(tmp_path):
    path = tmp_path / "acme.yaml"
    path.write_text("name: acme\ndescription: x\ncommand: [acme, '--port={port}']\nimage: acme/acme:1\n")
    study = build_study(Options(experiment="local-serve", site="cpu", engine=str(path)))
    assert (study.engine, study.site.image) == ("server:acme", "acme/acme:1")
    assert load_engine(study.engine).recipe(study.engine_options).command == ("acme", "--port={port}")
    shipped = build_study(Options(experiment="local-serve", site="cpu"))
    assert (shipped.engine, shipped.site.image) == ("llamacpp-server", "venv")
    assert [t.environment for t in shipped.treatments] == ["native", "container_baseline", "container_host_network"]
    assert shipped.treatments[2].options.network == "host"
    kept = build_study(Options(experiment="local-serve", site="cpu", engine="vllm", settings=("site.image=own:1",)))
    assert kept.site.image == "own:1"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"experiment": "local", "engine": "sglang"}, "sglang runs workloads of the kind serve, and local is offline"),
        ({"experiment": "local-serve", "engine": "llamacpp"}, "llamacpp runs workloads of the kind offline"),
        ({"experiment": "local-serve", "engine": "vlm"}, "unknown engine 'vlm'"),
        ({"experiment": "local-serve", "engine": "./none.yaml"}, "none.yaml cannot be read"),
        ({"experiment": "local-serve", "settings": ("experiment.workload.warmup_requests=0",)}, "at least 1"),
        ({"experiment": "local", "settings": ("experiment.workload.serve.request_timeout_s=1",)}, "kind: serve"),
        ({"experiment": "local-serve", "environments": "container_hots_network"}, "container_host_network"),
    ],
)
def test_what_does_not_fit_is_refused(asked, said):
    with pytest.raises(InputError) as refused:
        build_study(Options(site="cpu", **asked))
    assert said in f"{refused.value.message} {refused.value.remedy}"


def test_the_listing_says_what_ran_where(command_line):
    listed = {row["name"]: row for row in json.loads(command_line("engines", "--json").out)["engines"]}
    assert listed["sglang"]["verified"] == "never run by sparkray"
    assert "SmolLM2-135M" in listed["llamacpp-server"]["verified"]
    assert listed["llamacpp"]["workload"] == "offline"


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + shown() + END + rest.partition(END)[2])
