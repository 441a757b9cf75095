"""Which options this `trtllm-bench` knows: asked from the tool itself, else from the table of known versions.

`--help` of the group and of `throughput` are asked apart (options of the group are not listed with the subcommand), and
with `-m x`, since up to 1.2 a missing `--model` is an error even for `--help`. The version comes from the package's
metadata: importing it takes long and needs a GPU, so that is the second try only.

Where there is nothing to ask (`plan`), the version is `engine.version`, else what the tag of the image shows, else the
newest known. A version newer than the table has the command line of the newest known, with a warning; an older one than
1.0 is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sparkray.errors import ConfigError, EngineOutputError

_MARK = "@@sparkray"
_PROBE = f"""\
import subprocess, sys
def ask(name, *argv):
    print("{_MARK}", name, flush=True)
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    except OSError as error:
        print(error, flush=True)
        return 1
    print(done.stdout, flush=True)
    return done.returncode
if ask("version", sys.executable, "-c", "from importlib.metadata import version; print(version('tensorrt_llm'))"):
    ask("version", sys.executable, "-c", "import tensorrt_llm; print(tensorrt_llm.__version__)")
ask("group", "trtllm-bench", "--help")
ask("throughput", "trtllm-bench", "-m", "x", "throughput", "--help")
"""
VERSION = r"\d{1,4}\.\d{1,4}(?:\.\d{1,4}){0,2}(?:[.-]?(?:rc|a|b|post|dev)\d{1,12})*(?:\+[\w.]{1,40})?"
"""A version as Python packages and image tags write it: `1.2.1`, `1.3.0rc13`, `1.2.0rc5.post1+cu130`, `1.3.0-rc13`."""
_VERSION = re.compile(VERSION, re.ASCII)
_MINOR = re.compile(r"(\d{1,4}\.\d{1,4})", re.ASCII)
_OPTION_LINE = re.compile(r"^ {2,8}(-.*)$")
_NAMES = re.compile(r"(?<!\S)(--?[A-Za-z][\w-]*)", re.ASCII)

_GROUP = "--model -m --model_path --workspace -w --log_level"
_THROUGHPUT = """
    --engine_dir --backend --extra_llm_api_options --max_batch_size --max_num_tokens --max_seq_len --beam_width
    --kv_cache_free_gpu_mem_fraction --dataset --eos_id --modality --max_input_len --num_requests --warmup
    --target_input_len --target_output_len --tp --pp --ep --cluster_size --concurrency --streaming --report_json
    --iteration_log --output_json --request_json --enable_chunked_context --scheduler_policy
"""
_SINCE_1_1 = """
    --custom_module_dirs --sampler_options --no_skip_tokenizer_init --image_data_format --data_device
    --disable_chunked_context
"""
KNOWN_GROUP: Mapping[str, frozenset[str]] = {
    "1.0": frozenset(_GROUP.split()),
    "1.1": frozenset(_GROUP.split()),
    "1.2": frozenset([*_GROUP.split(), "--revision"]),
    "1.3": frozenset([*_GROUP.split(), "--revision", "--telemetry", "--no-telemetry"]),
}
KNOWN_THROUGHPUT: Mapping[str, frozenset[str]] = {
    "1.0": frozenset(_THROUGHPUT.split()),
    "1.1": frozenset((_THROUGHPUT + _SINCE_1_1).split()),
    "1.2": frozenset([*(_THROUGHPUT + _SINCE_1_1).split(), "--config"]),
    "1.3": frozenset([*(_THROUGHPUT + _SINCE_1_1).split(), "--config", "--custom_tokenizer", "--duration"]),
}
VERSIONS = tuple(KNOWN_GROUP)
OLDEST, NEWEST = VERSIONS[0], VERSIONS[-1]
_TAG_VERSION = re.compile(rf"(?:^|(?<=[-_]))(?:v|trtllm|release)?({VERSION})(?=[-_]|$)", re.ASCII)
_LEAST_CALENDAR = 20
"""Tags such as `25.12-py3` are a year and a month, not a version."""


@dataclass(frozen=True)
class Features:
    """What one `trtllm-bench` knows. `told` is false when the table of versions had to stand in for the tool's answer."""

    version: str
    group: frozenset[str]
    throughput: frozenset[str]
    told: bool = True

    @property
    def minor(self) -> str:
        """`1.2` of `1.2.0rc6`."""
        return minor_of(self.version) or self.version


def minor_of(version: str) -> str | None:
    """`1.2` of `1.2.0rc6`; None when it does not start like a version."""
    match = _MINOR.match(version)
    return match[1] if match else None


def probe_command() -> tuple[str, ...]:
    """The command that asks. It needs `python3` and `trtllm-bench` on PATH, and answers even when one of them fails."""
    return ("python3", "-c", _PROBE)


def understand(output: str) -> dict[str, str]:
    """The probe's answer as `Job.tool` carries it: `version`, `group` and `throughput` (option names, space between).

    Raises:
        EngineOutputError: Neither options nor a version can be found in it.
    """
    parts = _sections(output)
    group, throughput = option_names(parts.get("group", "")), option_names(parts.get("throughput", ""))
    version = _version(parts.get("version", ""))
    if version is not None and _nearest(version) is None:
        raise EngineOutputError(
            f"trtllm-bench is of version {version}: older than {OLDEST}, the oldest that sparkray drives",
            "Take a newer image: --set site.image=REFERENCE",
        )
    if "--report_json" not in throughput:  # a traceback, or half an answer
        known = _nearest(version) if version else None
        if known is None or version is None:
            last = next((line for line in reversed(output.splitlines()) if line.strip()), "nothing")
            raise EngineOutputError(
                f"trtllm-bench told neither its options nor its version; the last it said: {last.strip()[:200]!r}",
                "Run `trtllm-bench -m x throughput --help` in the image to see why",
            )
        group, throughput = KNOWN_GROUP[known], KNOWN_THROUGHPUT[known]
    return {
        "version": version or _guess(group, throughput),
        "group": " ".join(sorted(group)),
        "throughput": " ".join(sorted(throughput)),
    }


def image_version(reference: str) -> str | None:
    """The version that an image's tag shows; None for no tag, a digest alone, a name (`latest`) or a date (`25.12-py3`).

    Args:
        reference: As Docker takes it: registry, port, path, tag and digest.
    """
    name = reference.partition("@")[0].rpartition("/")[2]
    tag = name.partition(":")[2]
    found = (match[1] for match in _TAG_VERSION.finditer(tag))
    version = next((version for version in found if _numbers(version)[0] < _LEAST_CALENDAR), None)
    return re.sub(r"[.-]?(rc|a|b)(?=\d)", r"\1", version) if version else None


def features_of(tool: Mapping[str, str], asked: str | None, image: str = "") -> Features:
    """What to build the command for: what the tool told, else the version asked for, else the image's tag, else `NEWEST`.

    Raises:
        ConfigError: The tool is of another version than asked for, or the version is none that sparkray drives.
    """
    if asked is not None and not _VERSION.fullmatch(asked):
        raise ConfigError(
            f"engine.version = {asked!r} is not a version", "Write one like 1.2 or 1.3.0rc13, or leave it out"
        )
    if tool.get("throughput"):
        group, throughput = tool.get("group", "").split(), tool["throughput"].split()
        told = Features(tool["version"], frozenset(group), frozenset(throughput))
        if asked is not None and minor_of(asked) != told.minor:
            raise ConfigError(f"engine.version = {asked}, but the image holds {told.version}", "Leave it out")
        return told
    by_tag = image_version(image)
    version = asked or by_tag or NEWEST
    known = _nearest(version)
    if known is None:
        where = f"engine.version = {version}" if asked else f"the image {image} holds TensorRT-LLM {version} by its tag"
        raise ConfigError(
            f"{where}: older than {OLDEST}, the oldest that sparkray drives",
            f"Known: {', '.join(VERSIONS)}. Take a newer image: --set site.image=REFERENCE",
        )
    return Features(version, KNOWN_GROUP[known], KNOWN_THROUGHPUT[known], told=False)


def version_warning(tool: Mapping[str, str], asked: str | None, image: str) -> str | None:
    """What is uncertain about the version that the command is built for; None when it is known well enough."""
    features = features_of(tool, asked, image)
    if is_newer(features.version):
        taken = (
            "the options that its own help lists are used" if features.told else f"its options are taken from {NEWEST}"
        )
        return f"TensorRT-LLM {features.version} is newer than sparkray knows ({OLDEST} to {NEWEST}): {taken}"
    by_tag = image_version(image)
    if features.told or not image or image == "double":
        return None
    if asked is None and by_tag is None:
        return (
            f"the image {image} does not show its version in its tag: options of {NEWEST} are shown until the tool itself "
            "can be asked; engine.version names it"
        )
    if asked is not None and by_tag is not None and minor_of(asked) != minor_of(by_tag):
        return (
            f"engine.version = {asked}, but the tag of {image} shows {by_tag}: the runs are refused if the tag is right"
        )
    return None


def is_newer(version: str) -> bool:
    """Whether it is a later minor version than the newest known."""
    minor = minor_of(version)
    return minor is not None and _numbers(minor) > _numbers(NEWEST)


def option_names(text: str) -> frozenset[str]:
    """The options that a click help page lists. Names inside help texts, which stand further right, do not count."""
    names: set[str] = set()
    for line in text.splitlines():
        match = _OPTION_LINE.match(line)
        if match:
            column = re.split(r"\s{2,}", match[1], maxsplit=1)[0]
            names.update(_NAMES.findall(column.replace(",", " ").replace("/", " ")))
    return frozenset(names - {"--help"})


def _sections(output: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for chunk in output.split(_MARK)[1:]:
        name, _, body = chunk.partition("\n")
        parts[name.strip()] = body
    return parts


def _version(text: str) -> str | None:
    """The last line that is a version and nothing else: what is logged on import comes before."""
    return next((line.strip() for line in reversed(text.splitlines()) if _VERSION.fullmatch(line.strip())), None)


def _nearest(version: str) -> str | None:
    """The known minor version, the newest known for anything newer, None for anything older."""
    minor = minor_of(version)
    if minor is None or minor in KNOWN_GROUP:
        return minor
    return NEWEST if _numbers(minor) > _numbers(NEWEST) else None


def _numbers(version: str) -> tuple[int, ...]:
    """Major and minor."""
    major, minor = (minor_of(version) or "0.0").split(".")
    return int(major), int(minor)


def _guess(group: frozenset[str], throughput: frozenset[str]) -> str:
    """The minor version from what was added when."""
    if "--telemetry" in group:
        return "1.3"
    if "--config" in throughput:
        return "1.2"
    return "1.1" if "--sampler_options" in throughput else "1.0"
