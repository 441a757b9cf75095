"""One wrong word in the command, one swapped path, one ignored model: the tool refuses it, or what it left gives it away."""

import json
from pathlib import Path

import pytest
from trtllm_bench_case import ENGINE, Bench, card

from sparkray.catalog.checkpoint import checkpoint_files, checkpoint_identity
from sparkray.errors import EngineOutputError

VERSIONS = ("1.0", "1.1", "1.2", "1.3")
BENCHES = {}


def installed(version, tmp_path_factory):
    if version not in BENCHES:
        BENCHES[version] = Bench(tmp_path_factory.mktemp(f"mutants-{version}"), version)
    return BENCHES[version]


@pytest.fixture(params=VERSIONS)
def bench(request, tmp_path_factory):
    """Each version: for what differs between them."""
    return installed(request.param, tmp_path_factory)


@pytest.fixture
def newest(tmp_path_factory):
    """One version: for what is alike in all, and takes the same path."""
    return installed(VERSIONS[-1], tmp_path_factory)


def without(name, values=1):
    def change(words):
        place = words.index(name)
        return words[:place] + words[place + 1 + values :]

    return change


def with_value(name, value):
    def change(words):
        place = words.index(name)
        return [*words[: place + 1], value, *words[place + 2 :]]

    return change


def renamed(name, other):
    return lambda words: [other if word == name else word for word in words]


def plus(*more):
    return lambda words: [*words, *more]


def before_subcommand(*more):
    return lambda words: [words[0], *more, *words[1:]]


def said(bench, change, **options):
    """Exit status and log of a changed command."""
    job = bench.job(told=False, version=bench.version, **options)
    status, out, _ = bench.run(job, change=change)
    return status, (out / "engine.log").read_text()


@pytest.mark.parametrize("name", ["--model", "--dataset", "--eos_id", "--report_json", "--streaming"])
def test_a_misspelt_option_ends_with_2(newest, name):
    status, log = said(newest, renamed(name, f"{name}x"))
    assert status == 2
    assert f"No such option: {name}x" in log


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("--model"), "Missing option '--model' / '-m'."),
        (without("throughput", 0), "No such option: --backend"),
        (renamed("throughput", "throughputs"), "No such command 'throughputs'."),
        (lambda words: words[: words.index("throughput")], "Missing command."),
        (before_subcommand("--dataset", "/x"), "No such option: --dataset"),
        (plus("--model_path", "/x"), "No such option: --model_path"),
        (plus("extra"), "Got unexpected extra argument (extra)"),
        (
            with_value("--max_batch_size", "eight"),
            "Invalid value for '--max_batch_size': 'eight' is not a valid integer.",
        ),
        (plus("--kv_cache_free_gpu_mem_fraction", "90%"), "'90%' is not a valid float."),
        (with_value("--backend", "trt"), "Invalid value for '--backend': 'trt' is not one of 'pytorch', '_autodeploy'"),
        (with_value("--log_level", "INFO"), "'INFO' is not one of 'internal_error'"),
        (with_value("--dataset", "/no/such/file"), "Path '/no/such/file' does not exist."),
        (with_value("--report_json", "/"), "File '/' is a directory."),
        (plus("--target_input_len", "0"), "0 is not in the range x>=1."),
        (plus("--kv_cache_free_gpu_memory_fraction", "0.9"), "No such option: --kv_cache_free_gpu_memory_fraction"),
        (renamed("--report_json", "--report-json"), "No such option: --report-json"),
        (renamed("throughput", "latency"), "No such option: --"),
    ],
)
def test_wrong_words_end_with_2(newest, change, words):
    status, log = said(newest, change)
    assert status == 2
    assert words in log
    assert "Try 'trtllm-bench" in log


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (plus("--tp"), "Option '--tp' requires an argument."),
        (renamed("--streaming", "--streaming=yes"), "Option '--streaming' does not take a value."),
    ],
)
def test_what_click_finds_while_splitting_has_no_usage_line(newest, change, words):
    status, log = said(newest, change)
    assert status == 2
    assert f"Error: {words}" in log
    assert "Usage:" not in log


@pytest.mark.parametrize(
    ("change", "since"),
    [
        (renamed("--extra_llm_api_options", "--config"), "1.2"),
        (plus("--disable_chunked_context"), "1.1"),
        (plus("--no_skip_tokenizer_init"), "1.1"),
        (plus("--data_device", "cuda"), "1.1"),
        (before_subcommand("--revision", "main"), "1.2"),
        (before_subcommand("--telemetry"), "1.3"),
        (plus("--duration", "600"), "1.3"),
        (plus("--custom_tokenizer", "glm_moe_dsa"), "1.3"),
    ],
)
def test_options_of_later_versions(bench, change, since):
    status, _ = said(bench, change)
    assert status == (0 if bench.version >= since else 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("--max_batch_size"), "NVMLError_NotSupported"),
        (without("--max_num_tokens"), "NVMLError_NotSupported"),
        (without("--dataset"), "TypeError"),
        (without("--model_path"), "cannot download"),
        (with_value("--model_path", "/nowhere"), "config.json"),
        (with_value("--max_seq_len", "20"), "exceeds max_seq_len"),
    ],
)
def test_what_is_parsed_and_cannot_run_ends_with_1(newest, change, words):
    status, log = said(newest, change)
    assert status == 1
    assert words in log


def test_a_folder_as_model_is_refused_from_1_2_on(bench):
    status, log = said(bench, with_value("--model", str(bench.root)))
    assert status == (1 if bench.version >= "1.2" else 0)
    assert ("please provide a model name" in log) == (bench.version >= "1.2")


def test_name_and_folder_swapped(bench):
    def change(words):
        return with_value("--model_path", "Qwen/Qwen2-1.5B")(with_value("--model", str(bench.root))(words))

    status, log = said(bench, change)
    assert status == 1
    assert ("please provide a model name" if bench.version >= "1.2" else "config.json") in log


def test_the_tensorrt_backend_is_gone_in_1_3(bench):
    status, _ = said(bench, with_value("--backend", "tensorrt"))
    assert status == (2 if bench.version == "1.3" else 1)


def test_the_subcommands_of_each_version(bench):
    status, log = said(bench, lambda words: [words[0], "--help"])
    listed = log.split("Commands:")[1].split()
    assert status == 0
    assert ("build" in listed) == (bench.version != "1.3")
    assert ("prepare-dataset" in listed) == (bench.version in ("1.2", "1.3"))


def test_help_of_throughput_wants_a_model_until_1_2(bench):
    status, log = said(bench, lambda words: [words[0], "throughput", "--help"])
    assert status == (0 if bench.version == "1.3" else 2)
    assert ("Missing option '--model'" in log) == (bench.version != "1.3")


def test_latency_takes_one_of_three(newest):
    def change(words):
        return [*words[: words.index("throughput")], "latency", "--beam_width", "2", "--concurrency", "1"]

    status, log = said(newest, change)
    assert status == 2
    assert "Mutually exclusive" in log


def spoilt(bench, name, spoil):
    """Exit status and log of a run one of whose input files was changed."""

    def change(words):
        folder = Path(words[words.index("--dataset") + 1]).parent
        (folder / name).write_bytes(spoil((folder / name).read_bytes()))
        return words

    return said(bench, change)


def edited(key, value):
    def spoil(data):
        first, _, rest = data.partition(b"\n")
        entry = json.loads(first)
        entry.pop(key)
        return json.dumps(entry if value is None else {**entry, key: value}).encode() + b"\n" + rest

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data + b"\n",
        edited("task_id", None),
        edited("output_tokens", None),
        edited("input_ids", [151936] * 16),
        lambda data: data[:-40],
    ],
)
def test_a_spoilt_dataset_is_refused(newest, spoil):
    assert spoilt(newest, "dataset.jsonl", spoil)[0] == 1


@pytest.mark.parametrize("content", [b'{"kv_cash_config": {}}', b'{"kv_cache_config": {"max_token": 3}}', b"{"])
def test_a_spoilt_options_file_is_refused(newest, content):
    assert spoilt(newest, "llm_api_options.yaml", lambda _: content)[0] == 1


def test_the_winner_of_a_key_set_twice_differs_between_versions(bench):
    job = bench.job(told=False, version=bench.version)

    def change(words):
        path = Path(words[words.index("--extra_llm_api_options") + 1])
        path.write_text(json.dumps({"max_batch_size": 4}))
        return words

    status, out, _ = bench.run(job, change=change)
    reported = ENGINE.read(out, job).facts.reported
    assert status == 0
    assert reported["max_batch_size"] == (16 if bench.version == "1.3" else 4)
    assert bool(reported["identity_mismatches"]) == (bench.version != "1.3")


@pytest.mark.parametrize(
    ("kv_cache", "by_version"),
    [
        ({"free_gpu_memory_fraction": 0.5}, {"1.0": 0.5, "1.1": 0.5, "1.2": 0.5, "1.3": 0.8}),
        ({"dtype": "auto"}, {"1.0": None, "1.1": None, "1.2": 0.8, "1.3": 0.8}),
    ],
)
def test_a_kv_cache_set_in_two_places_means_another_thing_in_each_version(bench, kv_cache, by_version):
    def change(words):
        path = Path(words[words.index("--extra_llm_api_options") + 1])
        path.write_text(json.dumps({"kv_cache_config": kv_cache}))
        return [*words, "--kv_cache_free_gpu_mem_fraction", "0.8"]

    job = bench.job(told=False, version=bench.version)
    _, out, _ = bench.run(job, change=change)
    assert ENGINE.read(out, job).facts.reported["kv_fraction"] == by_version[bench.version]


def test_a_kv_cache_set_whole_in_the_file_means_the_same_in_each_version(bench):
    job = bench.job(told=False, version=bench.version, kv_fraction=0.5)
    _, out, paths = bench.run(job)
    read = ENGINE.read(out, job)
    assert read.facts.reported["kv_fraction"] == 0.5
    assert ENGINE.identity(read, job, model_path=paths.model) == ()


def swap_values(first, second):
    def change(words):
        one, two = words[words.index(first) + 1], words[words.index(second) + 1]
        return with_value(first, two)(with_value(second, one)(words))

    return change


@pytest.mark.parametrize(
    "change",
    [
        swap_values("--report_json", "--request_json"),
        without("--report_json"),
        without("--request_json"),
        with_value("--num_requests", "5"),
    ],
)
def test_accepted_by_the_tool_and_refused_by_the_reader(newest, change):
    job = newest.job(told=False, version=newest.version)
    status, out, _ = newest.run(job, change=change)
    assert status == 0
    with pytest.raises(EngineOutputError):
        ENGINE.read(out, job)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("--concurrency"), "mean_concurrency"),
        (with_value("--max_batch_size", "4"), "max_batch_size"),
        (with_value("--max_num_tokens", "4096"), "max_num_tokens"),
        (with_value("--tp", "2"), "world_size"),
        (with_value("--model", "Qwen/Qwen2.5-72B"), "model"),
    ],
)
def test_accepted_by_the_tool_and_seen_by_identity(newest, change, told):
    job = newest.job(told=False, version=newest.version, kv_fraction=0.5, requests=40, concurrency=2)
    status, out, _ = newest.run(job, change=change)
    assert status == 0
    assert [line.split(":")[0] for line in ENGINE.read(out, job).facts.reported["identity_mismatches"]] == [told]


def test_another_folder_is_seen_by_identity_and_by_its_files(newest):
    files = checkpoint_files(card("DeepSeek-R1-7B"))
    for name, data in files.items():
        newest.lay(newest.root / "other" / name, data)
    job = newest.job(told=False, version=newest.version)
    status, out, paths = newest.run(job, change=with_value("--model_path", str(newest.root / "other")))
    assert status == 0
    (told,) = ENGINE.identity(ENGINE.read(out, job), job, model_path=paths.model)
    assert told.startswith("model_path")
    assert any("hidden_size" in line for line in checkpoint_identity(files["config.json"], job.card))


def test_a_larger_vocabulary_than_the_models_is_refused(newest):
    for name, data in checkpoint_files(card("Mistral-7B-v0.3")).items():
        newest.lay(newest.root / "smaller" / name, data)
    status, log = said(newest, with_value("--model_path", str(newest.root / "smaller")))
    assert status == 1
    assert "outside the vocabulary" in log


def test_no_streaming_leaves_no_first_token(newest):
    job = newest.job(told=False, version=newest.version)
    _, out, _ = newest.run(job, change=without("--streaming", 0))
    read = ENGINE.read(out, job)
    assert {r.first_token_ns for r in read.requests} == {None}
    assert any("first token" in note for note in read.notes)
