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
from importlib.resources import files
from itertools import pairwise

from sparkray.engines._trtllm.double import versions as simulated
from sparkray.engines._trtllm.messages import message, note
from sparkray.errors import ConfigError, EngineOutputError

_MARK = "@@sparkray"
# A version as Python packages and image tags write it: `1.2.1`, `1.3.0rc13`, `1.2.0rc5.post1+cu130`, `1.3.0-rc13`.
VERSION = r"\d{1,4}\.\d{1,4}(?:\.\d{1,4}){0,2}(?:[.-]?(?:rc|a|b|post|dev)\d{1,12})*(?:\+[\w.]{1,40})?"
_VERSION = re.compile(VERSION, re.ASCII)
_MINOR = re.compile(r"(\d{1,4}\.\d{1,4})", re.ASCII)
_OPTION_LINE = re.compile(r"^ {2,8}(-.*)$")
_NAMES = re.compile(r"(?<!\S)(--?[A-Za-z][\w-]*)", re.ASCII)

VERSIONS: tuple[str, ...] = tuple(simulated.table()["versions"])
OLDEST, NEWEST = VERSIONS[0], VERSIONS[-1]
_TAG_VERSION = re.compile(rf"(?:^|(?<=[-_]))(?:v|trtllm|release)?({VERSION})(?=[-_]|$)", re.ASCII)
_LEAST_CALENDAR = 20  # tags such as `25.12-py3` are a year and a month, not a version


@dataclass(frozen=True)
class Features:
    """What one `trtllm-bench` knows. `from_tool` is false where the table of versions stands in."""

    version: str
    group: frozenset[str]
    throughput: frozenset[str]
    from_tool: bool = True

    @property
    def minor(self) -> str:
        """`1.2` of `1.2.0rc6`."""
        return minor_of(self.version) or self.version


def minor_of(version: str) -> str | None:
    """`1.2` of `1.2.0rc6`; None when it does not start like a version."""
    match = _MINOR.match(version)
    return match[1] if match else None


def known_options(command: str, version: str) -> frozenset[str]:
    """The options of the group (`group`) or of `throughput` in a known version."""
    return simulated.option_names(command, simulated.number(version))


def probe_command() -> tuple[str, ...]:
    """The command that asks. It needs `python3` and `trtllm-bench` on PATH, and answers even when one of them fails."""
    return ("python3", "-c", (files("sparkray.engines._trtllm") / "probe.py").read_text())


def understand(output: str) -> dict[str, str]:
    """The probe's answer as `Job.tool` carries it: `version`, `group` and `throughput` (option names, space between).

    Raises:
        EngineOutputError: Neither options nor a version can be found in it.
    """
    parts = _sections(output)
    group, throughput = option_names(parts.get("group", "")), option_names(parts.get("throughput", ""))
    version = _version(parts.get("version", ""))
    if version is not None and _nearest(version) is None:
        raise EngineOutputError(*message("tool_too_old", version=version, oldest=OLDEST))
    if "--report_json" not in throughput:  # a traceback, or half an answer
        known = _nearest(version) if version else None
        if known is None or version is None:
            last = next((line for line in reversed(output.splitlines()) if line.strip()), "nothing")
            raise EngineOutputError(*message("probe_unanswered", last=last.strip()[:200]))
        group, throughput = known_options("group", known), known_options("throughput", known)
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
    versions = (match[1] for match in _TAG_VERSION.finditer(tag))
    version = next((version for version in versions if _numbers(version)[0] < _LEAST_CALENDAR), None)
    return re.sub(r"[.-]?(rc|a|b)(?=\d)", r"\1", version) if version else None


def features_of(tool: Mapping[str, str], asked: str | None, image: str = "") -> Features:
    """The options by the tool's own report, else by the version asked for, the image's tag, or `NEWEST`.

    Raises:
        ConfigError: The tool is of another version than asked for, or the version is none that sparkray drives.
    """
    if asked is not None and not _VERSION.fullmatch(asked):
        raise ConfigError(*message("not_a_version", version=asked))
    if tool.get("throughput"):
        group, throughput = tool.get("group", "").split(), tool["throughput"].split()
        answered = Features(tool["version"], frozenset(group), frozenset(throughput))
        if asked is not None and minor_of(asked) != answered.minor:
            raise ConfigError(*message("other_version", asked=asked, version=answered.version))
        return answered
    by_tag = image_version(image)
    version = asked or by_tag or NEWEST
    known = _nearest(version)
    if known is None:
        which = "asked_too_old" if asked else "image_too_old"
        known_versions = ", ".join(VERSIONS)
        raise ConfigError(*message(which, version=version, image=image, oldest=OLDEST, versions=known_versions))
    return Features(version, known_options("group", known), known_options("throughput", known), from_tool=False)


def version_warning(tool: Mapping[str, str], asked: str | None, image: str) -> str | None:
    """What is uncertain about the version that the command is built for; None when it is known well enough."""
    features = features_of(tool, asked, image)
    if is_newer(features.version):
        source = note("options_from_help" if features.from_tool else "options_from_newest", newest=NEWEST)
        return note("newer_than_known", version=features.version, oldest=OLDEST, newest=NEWEST, source=source)
    by_tag = image_version(image)
    if features.from_tool or not image or image == "double":
        return None
    if asked is None and by_tag is None:
        return note("no_version_in_tag", image=image, newest=NEWEST)
    if asked is not None and by_tag is not None and minor_of(asked) != minor_of(by_tag):
        return note("tag_contradicts", asked=asked, image=image, by_tag=by_tag)
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
    if minor is None or minor in VERSIONS:
        return minor
    return NEWEST if _numbers(minor) > _numbers(NEWEST) else None


def _numbers(version: str) -> tuple[int, ...]:
    """Major and minor."""
    major, minor = (minor_of(version) or "0.0").split(".")
    return int(major), int(minor)


def _guess(group: frozenset[str], throughput: frozenset[str]) -> str:
    """The newest version one of whose additions is there, else the oldest."""
    for before, version in reversed(tuple(pairwise(VERSIONS))):
        for command, options in (("group", group), ("throughput", throughput)):
            if options & (known_options(command, version) - known_options(command, before)):
                return version
    return OLDEST
