"""`compare`: a line becomes an experiment that every other verb takes, and says which of its flags cannot act."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sparkray.catalog import Catalog, data_root
from sparkray.config.container import run_words
from sparkray.config.docker import DockerOptions
from sparkray.config.docker_line import Shell, parse_text
from sparkray.config.recognise import ImageConfig
from sparkray.engines import load_engine
from sparkray.errors import InputError
from sparkray.execute.layout import planned_command, planned_container
from sparkray.plan import Study, make_plan, measured
from sparkray.sweep import main
from sparkray.workflows.compare import (
    AGAINST,
    Compared,
    ComparedLoad,
    check_comparable,
    differences,
    experiment_of,
    idle_flags,
    model_card,
    notes_of,
    runs_for,
    secrets_in,
    unchecked,
    understand,
    write_files,
)
from sparkray.workflows.options import Options, build_study

CATALOG = Catalog(data_root())
SERVER = ("/p/python3", "/w/llamacpp_server.py")
IMAGE = ImageConfig(SERVER, ("--port", "8080", "--alias", "m", "--model", "/m.gguf"), {"A": "image"}, "/srv")
SHELL = Shell({}, "/", str)


def understood(text: str, image: ImageConfig = IMAGE) -> Compared:
    return understand(parse_text(f"docker run {text}", SHELL), image, CATALOG)


def study_of(folder: Path, compared: Compared, against: Compared | None = None) -> Study:
    experiment = experiment_of(compared, ComparedLoad(), against)
    path = write_files(folder, model_card(compared, CATALOG), experiment, 3)
    assert write_files(folder, model_card(compared, CATALOG), experiment, 5) == path
    assert path.stat().st_mode & 0o077 == 0
    return build_study(Options(experiment=str(path), site="cpu"))


def test_both_arms_get_the_line_and_docker_alone_its_flags(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/l.gguf").write_bytes(b"GGUF")
    compared = understood(
        f"--rm -p 9000:8000 -e A=1 -v {tmp_path}/data:/models:ro --shm-size 1g --group-add video img:1 "
        "--model /models/l.gguf --port 8000 --alias l"
    )
    study = study_of(tmp_path, compared)
    engine = load_engine(study.engine)
    assert (study.engine, study.site.image, study.cards[0].name) == ("server:llamacpp-server", "img:1", "l")
    assert (study.cards[0].weights.kind, study.cards[0].weights.path) == ("file", f"{tmp_path}/data/l.gguf")
    native, container = sorted(make_plan(study)[:2], key=lambda run: run.environment != "native")
    command = planned_command(study, native, engine)
    assert command.argv == (*SERVER, "--model", "/models/l.gguf", "--port", "8000", "--alias", "l")
    assert (command.environment, command.workdir) == ({"A": "1"}, "/srv")
    spec = planned_container(study, container, engine, tmp_path)
    assert spec is not None
    words = run_words(spec)
    assert (spec.argv, spec.workdir) == (command.argv, command.workdir)
    assert {"--shm-size=1g", "--group-add=video", f"--volume={tmp_path}/data:/models:ro", "--env=A=1"} <= set(words)


def test_a_model_that_nobody_mounts_is_the_servers_own_affair(tmp_path: Path) -> None:
    assert model_card(understood("img"), CATALOG)["weights"] == {"kind": "server", "path": "/m.gguf"}
    hub = understood("-p 1:1 img --model meta-llama/Llama-3.1-8B-Instruct")
    assert model_card(hub, CATALOG)["weights"]["kind"] == "server"
    with pytest.raises(InputError, match="which is not on this machine"):
        model_card(understood(f"-p 1:1 -v {tmp_path}:/models img --model /models/none"), CATALOG)
    with pytest.raises(InputError, match=r"/not/there, which is to be mounted at /m, is not on this machine"):
        understood("-v /not/there:/m img")


def test_flags_that_cannot_act_are_named_by_their_own_rules() -> None:
    line = "-p 8080:8080 --network host --shm-size 1g --ipc host --memory 900g --cpus 3 --init=false --pids-limit 9 img"
    named = idle_flags(understood(line), {}, cpus="0-1", memory_gib=8.0)
    assert [text.partition(" cannot act")[0] for text in named] == [
        "--memory=900g", "--cpus=3", "init=False asks for what Docker does anyway", "--shm-size", "--publish",
    ]  # fmt: skip
    assert "under --ipc=host" in named[3]
    assert "under --network=host" in named[4]
    assert idle_flags(understood("-p 8080:8080 --shm-size 1g img"), {}, cpus=None, memory_gib=None) == []
    assert idle_flags(understood("-p 8080:8080 -p 9090:9090 img"), {}, cpus=None, memory_gib=None) == [
        "--publish of port 9090 cannot act: the load goes to port 8080"
    ]


def test_what_is_left_out_or_not_alike_is_named() -> None:
    compared = understood("--name x -it --user 1000 --dns 1.1.1.1 -e HF_TOKEN=s -e PATH=/b img")
    notes = notes_of(compared)
    assert [note.partition(" ")[0] for note in notes] == [
        "--name=x",
        "--interactive",
        "--tty",
        "--user=1000",
        "--dns=1.1.1.1",
        "the",
    ]
    assert notes[-1] == "the container runs as user 1000, the native arm as root"
    assert notes_of(compared, native=False) == notes[:-1]
    assert secrets_in([compared.line]) == ["HF_TOKEN"]
    assert compared.options == DockerOptions(other=("--user=1000", "--dns=1.1.1.1"))


def test_two_lines_that_differ_in_their_flags_share_all_else(tmp_path: Path) -> None:
    first, second = understood("img"), understood("--network host img")
    check_comparable(first, second)
    assert differences(first, second) == unchecked(first, second) == []
    study = study_of(tmp_path, first, second)
    assert [(t.environment, t.options.network, t.image, t.engine_options) for t in study.treatments] == [
        ("container_baseline", None, "", {}),
        (AGAINST, "host", "", {}),
    ]


def test_two_images_each_start_their_own_command_with_their_own_variables(tmp_path: Path) -> None:
    first = understood("-p 8080:8080 own:1")
    second = understood("-p 9090:9090 -e A=2 own:2", ImageConfig(SERVER, ("--port", "9090", "--model", "/m.gguf")))
    check_comparable(first, second)
    assert differences(first, second) == ["image (own:1, own:2)", "command", "variables (A)", "working folder",
        "port (8080, 9090)"]  # fmt: skip
    assert unchecked(first, second) == [
        "the model /m.gguf is not mounted: whether both images serve the same files is not checked"
    ]
    study = study_of(tmp_path, first, second)
    assert study.own_images == {AGAINST: "own:2"}
    assert len(measured(study)) == 2, "flags alike, images not: neither stands for the other"
    engine, found = load_engine(study.engine), {}
    for run in make_plan(study)[:2]:
        spec = planned_container(study, run, engine, tmp_path)
        assert spec is not None
        found[run.environment] = (spec.image, spec.argv[2:4], spec.environment.get("A"), spec.port, spec.workdir)
    assert found == {
        "container_baseline": ("own:1", ("--port", "8080"), None, 8080, "/srv"),
        AGAINST: ("own:2", ("--port", "9090"), "2", 9090, "/"),
    }


def test_two_servers_of_one_model_are_compared_and_of_two_models_are_not(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    nothing = ImageConfig()
    vllm = understood(f"-p 8000:8000 -v {tmp_path}/m:/m vllm/vllm-openai vllm serve /m/L", nothing)
    sglang = understood(
        f"-p 30000:30000 -v {tmp_path}:/x lmsysorg/sglang python3 -m sglang.launch_server --model-path /x/m/L", nothing
    )
    check_comparable(vllm, sglang)
    assert differences(vllm, sglang)[1] == "engine (vllm, sglang)"
    other = understood("-p 8000:8000 vllm/vllm-openai vllm serve meta-llama/L", nothing)
    with pytest.raises(InputError, match=f"serve different models: {tmp_path}/m/L and meta-llama/L"):
        check_comparable(vllm, other)
    ollama = understood("-p 11434:11434 ollama/ollama ollama serve", nothing)
    with pytest.raises(InputError, match="vllm and ollama cannot be sent the same requests: token ids to the endpoint"):
        check_comparable(vllm, ollama)


def test_two_models_inside_one_image_are_told_apart_by_their_folder() -> None:
    """Across images a folder says little: there the model's name decides, and `unchecked` says so."""
    lines = [understood(f"-p 8000:8000 vllm/vllm-openai:{tag} vllm serve {path}", ImageConfig()) for tag, path in (
        ("v1", "/weights/fp8/L"), ("v1", "/weights/bf16/L"), ("v2", "/models/L")
    )]  # fmt: skip
    with pytest.raises(InputError, match="serve different models: /weights/fp8/L and /weights/bf16/L"):
        check_comparable(lines[0], lines[1])
    check_comparable(lines[0], lines[2])
    assert unchecked(lines[0], lines[2])


@pytest.mark.parametrize("site", ["cpu", "discrete-gpu-vllm"])
def test_the_image_is_the_lines_own_whatever_the_site_runs(tmp_path: Path, site: str) -> None:
    compared = understood("-p 8000:8000 vllm/vllm-openai:v0.26.0 vllm serve org/L", ImageConfig())
    path = write_files(tmp_path, model_card(compared, CATALOG), experiment_of(compared, ComparedLoad()), 3)
    made = build_study(Options(experiment=str(path), site=site))
    assert [made.image_of(treatment.environment) for treatment in made.treatments] == ["vllm/vllm-openai:v0.26.0"] * 2


def test_a_site_keeps_its_image_for_its_own_engine_and_inherits_none_for_another(tmp_path: Path) -> None:
    site = tmp_path / "mine.yaml"
    for lines, image in (
        (["image: host-files"], "host-files"),
        (["image: my/vllm:1"], "my/vllm:1"),
        ([], CATALOG.recipe("vllm").image),
    ):
        site.write_text("\n".join(["name: mine", "inherits: discrete-gpu", "engine: vllm", *lines]))
        assert build_study(Options(experiment="h200-vllm-serve", site=str(site))).site.image == image


def test_runs_fill_ten_minutes_within_bounds() -> None:
    assert [runs_for(10, seconds) for seconds in (0.0, 40.0, 60.0, 500.0)] == [20, 15, 10, 3]


def test_the_recipe_keeps_what_it_knows_of_the_server() -> None:
    compared = understood("img")
    recipe = yaml.safe_load(yaml.safe_dump(experiment_of(compared, ComparedLoad())))["engine"]["recipe"]
    assert recipe["readiness"]["path"] == compared.recipe.readiness.path
    assert recipe["requests"]["body"] == dict(compared.recipe.requests.body)
    assert (recipe["served_name"], recipe["with_entrypoint"]) == ("m", True)
    nameless = replace(compared, command=(*SERVER, "--model", "x"))
    assert experiment_of(nameless, ComparedLoad())["engine"]["recipe"]["served_name"] == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no line was given"),
        (["--", "docker", "run", "--gpu", "all", "img"], "Did you mean '--gpus'"),
        (["docker", "run", "-v", "$(pwd):/m", "img"], "$(pwd) in"),
        (["--", "docker run -v ~/m:/m img"], "~ in"),
        (["--against", "podman run x", "--", "docker", "run", "img"], "'podman' is not"),
        (["--", "docker", "run", "--env-file", "/not/there", "img"], "/not/there cannot be read"),
    ],
)
def test_a_line_that_cannot_be_read_ends_with_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["compare", "--results-dir", str(tmp_path / "r"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_an_experiment_file_may_give_one_container_an_image_and_options_of_the_engine(tmp_path: Path) -> None:
    document = yaml.safe_load((data_root() / "experiments" / "local-serve.yaml").read_text())
    own = {"options": {"ipc": "host"}, "image": "own:2", "engine": {"arguments": ["--threads", "1"]}}
    path = tmp_path / "two-images.yaml"

    def study_with(**container: object) -> Study:
        named = {"name": "two-images", "environments": ["native", "container_next"]}
        path.write_text(yaml.safe_dump(document | named | {"containers": {"container_next": container}}))
        return build_study(Options(experiment=str(path), site="cpu"))

    study = study_with(**own)
    native, container = study.treatments
    assert (native.image, native.engine_options, container.image) == ("", {}, "own:2")
    assert container.engine_options == {**study.engine_options, "arguments": ["--threads", "1"]}
    assert study_with(**own | {"image": study.site.image}).own_images == {}
    with pytest.raises(InputError, match=r"containers\.container_next\.engine: unknown key 'argument'"):
        study_with(**own | {"engine": {"argument": ["x"]}})
