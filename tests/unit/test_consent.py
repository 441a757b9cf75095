"""Power over the host needs consent, wherever it is asked for, and what is secret is neither shown nor stored."""

import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import Ended

from sparkray.config.container import ContainerSpec, run_line
from sparkray.config.docker import DockerOptions
from sparkray.config.docker_columns import column_values
from sparkray.config.docker_line import Shell, parse_words
from sparkray.config.privilege import dangers_of
from sparkray.config.secrets import hidden, is_secret, masked, masked_words, secret_values
from sparkray.errors import InputError
from sparkray.execute.row import RunRecord, outcome_of, without_secrets
from sparkray.records import Outcome, Verdict
from sparkray.store import open_dataset
from sparkray.sweep import main
from sparkray.workflows.consent import dangers_of_mounts

Call = Callable[..., Ended]
SITE = "docker.container_baseline"
EXPERIMENT: dict[str, Any] = {
    "name": "mine",
    "question": "?",
    "models": ["SmolLM2-135M"],
    "environments": ["native", "container_mine"],
    "runs": 1,
    "workload": {"requests": 2, "input_tokens": 8, "output_tokens": 4},
    "margins": {"latency_mean_ms": 0.01},
    "primary_metrics": ["latency_mean_ms"],
    "containers": {"container_mine": {"options": {"cap_add": ["SYS_ADMIN"]}}},
}


def written(path: Path, document: object) -> str:
    path.write_text(yaml.safe_dump(document))
    return str(path)


def asking(source: str, folder: Path) -> list[str]:
    """Words of a command line that asks for power over the host in one of the ways there are."""
    match source:
        case "--set":
            return ["baseline", "--set", f"{SITE}.privileged=true"]
        case "site file":
            own = {"container_baseline": {"options": {"security_opt": ["seccomp=unconfined"]}}}
            return ["baseline", "--site", written(folder / "s.yaml", {"inherits": "cpu", "environments": own})]
        case "experiment file":
            return ["baseline", "--experiment", written(folder / "e.yaml", EXPERIMENT)]
        case "optimized file":
            document = {"format": "sparkray-environment/1", "options": {"pid": "host"}}
            return ["validate", "--optimized", written(folder / "o.yaml", document)]
        case "mode":
            return ["validate", "--mode", "privileged"]
        case "mount":
            recipe = yaml.safe_load(Path("conf/engines/llamacpp-server.yaml").read_text())
            recipe = {**recipe, "name": "mine", "volumes": ["/:/all"]}
            return ["baseline", "--experiment", "local-serve", "--engine", written(folder / "r.yaml", recipe)]
    raise AssertionError(source)


@pytest.mark.parametrize("source", ["--set", "site file", "experiment file", "optimized file", "mode", "mount"])
def test_a_sweep_refuses_power_over_the_host_without_consent(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, source: str
) -> None:
    words = [*asking(source, tmp_path), "--results-dir", str(tmp_path / "results"), "--yes"]
    words += [] if "--site" in words else ["--site", "cpu"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "need consent" in said
    assert "--allow-insecure" in said
    assert not (tmp_path / "results").exists()


def test_plan_shows_what_an_optimised_environment_asks_for(command_line: Call, tmp_path: Path) -> None:
    words = asking("optimized file", tmp_path)[1:]
    done = command_line("plan", "--site", "cpu", *words, "--runs", "1")
    assert "needs consent (--allow-insecure): container_optimized: --pid=host" in done.out


def test_what_a_shipped_site_asks_for_needs_none(command_line: Call) -> None:
    done = command_line("plan", "--site", "cpu", "--runs", "1", "--json", "--set", f"{SITE}.ipc=host")
    assert json.loads(done.out)["consent"] == []


def test_what_a_shipped_experiment_asks_for_needs_none(command_line: Call) -> None:
    words = ("plan", "--site", "discrete-gpu-vllm", "--experiment", "h200-vllm-seccomp", "--json")
    assert json.loads(command_line(*words).out)["consent"] == []
    more = command_line(*words, "--set", "docker.container_seccomp_unconfined.pid=host")
    assert [one["words"] for one in json.loads(more.out)["consent"]] == ["--pid=host"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"privileged": True}, ["--privileged"]),
        ({"security_opt": ("apparmor:unconfined",)}, ["--security-opt=apparmor=unconfined"]),
        ({"security_opt": ("label=disable",)}, ["--security-opt=label=disable"]),
        ({"security_opt": ("no-new-privileges",)}, []),
        ({"ipc": "container:other"}, ["--ipc=container:other"]),
        ({"ipc": "private", "pid": None}, []),
        ({"pid": "container:other"}, ["--pid=container:other"]),
        ({"network": "container:other"}, ["--network=container:other"]),
        ({"uts": "host"}, ["--uts=host"]),
        ({"network": "host", "cgroupns": "host"}, []),
        ({"other": ("--net=container:other", "--network=name=container:other,alias=a", "--uts=host")}, None),
        ({"other": ("--pid=container:other", "--ipc=host", "--userns=host")}, None),
        ({"other": ("--network=mine", "--net=name=mine,alias=host", "--ipc=private", "--uts=")}, []),
        ({"cap_add": ("cap_sys_nice", "CHOWN")}, ["--cap-add=SYS_NICE"]),
        ({"device": ("/dev/nvidia0", "/dev/mem")}, ["--device=/dev/mem"]),
        ({"device": ("/dev/dri/card0", "nvidia.com/gpu=all")}, []),
        ({"device": ("/dev/sg0", "/dev/nbd0")}, ["--device=/dev/sg0", "--device=/dev/nbd0"]),
        ({"device": ("/dev/cpu/0/msr", "/dev/uinput")}, ["--device=/dev/cpu/0/msr", "--device=/dev/uinput"]),
        ({"device": ("/dev/watchdog", "/dev/shm")}, ["--device=/dev/watchdog", "--device=/dev/shm"]),
        ({"device": ("/dev/nvidia-caps/nvidia-cap1", "/dev/nvhost-gpu", "/dev/nvidiactl", "/dev/kvm")}, []),
        ({"device": ("/dev/nvidia/../sda", "/dev/tpm0")}, ["--device=/dev/nvidia/../sda", "--device=/dev/tpm0"]),
        ({"security_opt": ("apparmor=mine",)}, ["--security-opt=apparmor=mine"]),
        ({"security_opt": ("apparmor=docker-default",)}, []),
        ({"other": ("--cidfile=/etc/cron.d/x", "--env-file=/etc/shadow", "--label-file=/etc/shadow")}, None),
        ({"device": ("/dev/vfio/1", "/dev/tty1")}, ["--device=/dev/vfio/1", "--device=/dev/tty1"]),
        ({"device": ("/dev/cpu_dma_latency", "/dev/random", "/dev/infiniband/uverbs0", "/dev/snd/seq")}, []),
        ({"other": ("--userns=host", "--group-add=10")}, ["--userns=host"]),
        ({"other": ("--volume=/:/all", "--security-opt=systempaths=unconfined")}, None),
    ],
)
def test_the_options_that_give_power(options: dict[str, Any], words: list[str] | None) -> None:
    asked = DockerOptions(**options)
    assert list(dangers_of(asked)) == (list(options["other"]) if words is None else words)


def test_mounts_of_the_host_and_of_its_sockets(tmp_path: Path) -> None:
    (tmp_path / "root").symlink_to("/")
    (tmp_path / "data").mkdir()
    (tmp_path / "service").mkdir()
    (tmp_path / "refused").symlink_to(f"/proc/{os.getpid()}/root")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "service" / "api"))
        for source, read_only, found in (
            ("/", True, True),
            ("/usr/../", True, True),
            (str(tmp_path / "root"), True, True),
            ("/etc", True, True),
            ("/etc/localtime", True, False),
            ("/etc/localtime", False, True),
            ("/usr", True, False),
            ("/etc/shadow", True, True),
            ("/root/.ssh", True, True),
            ("/home/alice", True, True),
            ("/home/alice/.cache/huggingface", False, False),
            ("/root/.cache/nim", False, False),
            ("/usr/local", False, True),
            ("/run/containerd", True, True),
            ("/dev/sda", True, True),
            ("/dev/shm", True, True),
            ("/dev/null", False, False),
            ("/proc/kcore", True, True),
            ("/etc/ssh", True, True),
            ("/etc/ssl/certs", True, False),
            ("/root/.config/gh", True, True),
            ("/home/alice/.bashrc", False, True),
            ("/home/alice/.local/share/ollama", False, False),
            ("/tmp", True, True),
            (str(tmp_path / "refused"), True, True),
            ("/nowhere/docker.sock", True, True),
            (str(tmp_path / "service"), True, True),
            (str(tmp_path / "service" / "api"), True, True),
            (str(tmp_path / "data"), False, False),
        ):
            assert bool(dangers_of_mounts([(source, "/inside", read_only)])) is found, source


def test_a_results_folder_that_docker_cannot_mount_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, why in (("a:b", "has a colon"), ("\udcff", "no UTF-8 text")):
        words = ["baseline", "--site", "cpu", "--yes", "--environments", "container_baseline"]
        assert main([*words, "--results-dir", str(tmp_path / name)]) == 2
        assert why in capsys.readouterr().err


def test_a_cache_folder_that_cannot_be_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc")
    assert main(["baseline", "--site", "cpu", "--yes", "--results-dir", str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert "nothing can be written to the cache folder '/proc/sparkray': No such file or directory" in said
    assert "XDG_CACHE_HOME=DIR" in said


@pytest.mark.parametrize("image", ["--privileged", "-", "a b", "a\nb"])
def test_an_image_is_no_option(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="the image"):
        parse_words(["docker", "run", "--", image], Shell({}, "/", lambda _: ""))
    assert main(["plan", "--site", "cpu", "--set", f"site.image={json.dumps(image)}"]) == 2
    assert "the image" in capsys.readouterr().err


SECRET = "hf_abcdefgh"


def test_secrets_are_known_by_their_names() -> None:
    more = ["DB_PASS", "MYSQL_PWD", "GITHUB_PAT", "API_KEYS", "Authorization"]
    secret = [
        *more,
        "HF_TOKEN",
        "ngc_api_key",
        "DB_PASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "APIKEY",
        "--api-key",
        "OPENAI_KEY",
    ]
    plain = [
        "TOKENIZERS_PARALLELISM",
        "MAX_TOKENS",
        "PWD",
        "OLDPWD",
        "BYPASS",
        "KEYBOARD",
        "--max-num-batched-tokens",
        "key",
        "SECRETS_DIR",
    ]
    assert [is_secret(name) for name in (*secret, *plain)] == [True] * len(secret) + [False] * len(plain)


def test_a_printed_line_takes_secrets_from_the_shell() -> None:
    options = DockerOptions(env=(f"HF_TOKEN={SECRET}", "LEVEL=5"))
    spec = ContainerSpec(
        "n", "i", ("serve", "--api-key", SECRET, "--port=1"), options, {"NGC_API_KEY": SECRET, "A": "b"}
    )
    line = run_line(spec)
    assert SECRET not in line
    for kept in ("-e=HF_TOKEN ", "--env=NGC_API_KEY ", "--env=A=b", "-e=LEVEL=5", "--api-key '***' --port=1"):
        assert kept in line
    assert column_values(options)["docker_env"] == ["HF_TOKEN=***", "LEVEL=5"]
    proxy = ContainerSpec(
        "n", "i", ("--url=ftp://a:b-c@h/x@y",), options, {"HTTP_PROXY": f"http://me:{SECRET}@proxy:80"}
    )
    assert "HTTP_PROXY=http://me:***@proxy:80" in run_line(proxy).replace("'", "")
    assert "ftp://a:***@h/x@y" in run_line(proxy)
    assert masked_words(["--api-key", "--port=1"]) == ["--api-key", "--port=1"]


def test_what_is_kept_of_a_run_holds_no_secret(tmp_path: Path) -> None:
    values = secret_values({"HF_TOKEN": SECRET, "LEVEL": "debugging", "A_TOKEN": "abc"}, ["--api-key=sk-secret"])
    assert values == ("hf_abcdefgh", "sk-secret")
    assert secret_values({"HTTP_PROXY": f"http://me:{SECRET}@proxy"}) == (SECRET,)
    assert masked({"proxy": f"http://me:{SECRET}@p"}) == {"proxy": "http://me:***@p"}
    verdict = Verdict("readback", "pass", f"-e=HF_TOKEN: {SECRET}")
    kept = without_secrets(Outcome(row={"reason": SECRET, "block": 1}, checks=(verdict,)), values)
    assert (kept.row, kept.checks[0].evidence) == ({"reason": "***", "block": 1}, "-e=HF_TOKEN: ***")
    row = {"environment": "native", "model_sha256": "ab", "reason": "native", "deviations": json.dumps(['a"bcdef'])}
    masked_row = without_secrets(Outcome(row=row), ("native", 'a"bcdef')).row
    assert masked_row == {**row, "reason": "***", "deviations": '["***"]'}, "a key is no text"
    assert hidden(f"401 for {SECRET} and sk-secret", values) == "401 for *** and ***"
    document = {"engine": {"environment": {"HF_TOKEN": SECRET, "A": "1"}, "arguments": ("--api-key", SECRET)}}
    assert masked(document) == {
        "engine": {"environment": {"HF_TOKEN": "***", "A": "1"}, "arguments": ["--api-key", "***"]}
    }
    log = tmp_path / "engine.log"
    log.write_text(f"login with {SECRET}\n")
    dataset = open_dataset(tmp_path, "question", "d" * 64)
    dataset.keep_log("r", 1, log, values)
    kept_log = dataset.path / "logs" / "r-1.log"
    assert kept_log.read_text() == "login with ***\n"
    record = RunRecord({"run_id": "r", "attempt": 1, "simulated": True}, secrets=values)
    (tmp_path / "out").mkdir()
    log.rename(tmp_path / "out" / "engine.log")
    assert outcome_of(record, tmp_path).row["log_sha256"] == hashlib.sha256(kept_log.read_bytes()).hexdigest()
