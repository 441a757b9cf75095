"""Settings and states that differ between arms besides the environment: other causes of the difference between them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from sparkray.audit.case import Case, labels, numbers, of_arm, reference_first
from sparkray.audit.finding import Finding, NotJudged
from sparkray.audit.levels import compared, difference
from sparkray.audit.results import STATE
from sparkray.audit.roles import is_measured, is_score
from sparkray.audit.roles import is_setting as names_a_setting

_LEAST_RUNS = 2
_LEVEL = 0.01
_LEAST_SHARE = 0.02
_OWN_COLUMNS = ("batch", "devices", "image", "site", "gpu", "model_path")
# Other names of the arm itself, of one run, or of where its output went.
_NO_CAUSE = re.compile(
    r"(^|_)(arm|env(ironment)?|runtime|runner|label|variant|condition|treatment|group|setup|config(uration)?_?(name|id)?|"
    r"is_?(docker|container(ised|ized)?)|in_?(docker|container)|container(_id|_name|ised|ized)?|docker|id|uuid|name|path|file"
    r"(name)?|dir|folder|url|uri|port|pid|notes?|comments?|description|command|cmd|args|log|title|source|seed)$|^run_|^docker_"
)
# Files of weights, which are compared by their own names and not by their folders.
_WEIGHTS = re.compile(r"\.(gguf|safetensors|bin|engine|nemo|onnx)$", re.IGNORECASE)
_SETTINGS = ("identity", "parameter")


@dataclass(frozen=True)
class _Pair:
    """Rows of two arms: of one model, or of several models that have one run each."""

    models: tuple[str, ...]
    reference: str
    other: str
    frame: pl.DataFrame

    @property
    def is_single(self) -> bool:
        """Whether an arm has one run: everything differs by arm then, also what only describes a run."""
        return bool(min(self.frame["environment"].value_counts()["count"]) < _LEAST_RUNS)

    def judges(self, name: str) -> bool:
        """Whether there are runs enough for a column: of single ones only settings count, and no measured numbers."""
        is_one_each = self.is_single or len(self.models) > 1
        known = name in _OWN_COLUMNS or names_a_setting(name)
        return (known or not self.is_single) and not (is_one_each and is_measured(name, self.frame[name]))


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave for what has one value in an arm and another in the other arm, and for levels of a state that differ clearly.

    A setting that both arms vary is none of these, nor one that an arm does not have. A level (clock, power) differs where
    means are 2 % apart and Welch's test is clear at 1 % over all states.
    """
    pairs = list(_pairs(case))
    names = list(_columns(case))
    items = [item for name in names for item in _settings(pairs, name)]
    states = [name for name, role in case.results.roles.items() if role == "state" and _is_number(case, name)]
    items += [item for name in states for item in _levels(case, pairs, name, len(states))]
    if items:
        affected = {item["model"] for item in items}
        rows = labels(case.ok.filter(pl.col("model_name").is_in(list(affected))))
        yield Finding("confounded_arms", {"columns": _names(items), "items": _together(items)}, "grave", rows)
    if not names and not states:
        yield NotJudged("confounded_arms/none")


def _pairs(case: Case) -> Iterator[_Pair]:
    """Each model with several runs in two arms; of the others all that have both arms, taken together."""
    single: dict[tuple[str, str], dict[str, pl.DataFrame]] = {}
    for (model,), frame in case.ok.group_by("model_name", maintain_order=True):
        reference, *others = reference_first(frame["environment"].unique().to_list())
        for other in others:
            both = frame.filter(pl.col("environment").is_in([reference, other]))
            if min(both["environment"].value_counts()["count"]) >= _LEAST_RUNS:
                yield _Pair((str(model),), reference, other, both)
            else:
                single.setdefault((reference, other), {})[str(model)] = both
    for (reference, other), frames in single.items():
        yield _Pair(tuple(frames), reference, other, pl.concat(frames.values()))


def _columns(case: Case) -> Iterator[str]:
    """Columns of settings and states in words; of the arm's images only those that no digest judges better."""
    digests = any(case.ok[name].count() for name in ("image_digest", "rootfs_digest"))
    for name in _OWN_COLUMNS:
        if (
            name in case.ok.columns
            and case.ok[name].count()
            and not (name == "image" and (digests or case.results.own_images))
            and not (name == "model_path" and not _are_weights(case.ok[name]))
        ):
            yield name
    for name, role in case.results.roles.items():
        is_setting = role in _SETTINGS or (role == "state" and not _is_number(case, name))
        is_own = name in _OWN_COLUMNS or (_NO_CAUSE.search(name.casefold()) and not _are_weights(case.ok[name]))
        is_outcome = is_score(name) and not names_a_setting(name)
        if is_setting and name in case.ok.columns and not is_own and not is_outcome:
            yield name


def _is_number(case: Case, name: str) -> bool:
    return name in case.ok.columns and name not in STATE and case.ok.schema[name] == pl.Float64


def _settings(pairs: list[_Pair], name: str) -> Iterator[dict[str, Any]]:
    """Models whose two arms have no value of a column in common, each arm one for several runs.

    Of single runs only columns count whose names are those of settings, and whose numbers were not measured.
    """
    for pair in (one for one in pairs if one.judges(name)):
        arms = [of_arm(pair.frame, arm)[name].drop_nulls() for arm in (pair.reference, pair.other)]
        values = [sorted({_file_name(value) for value in arm}, key=str) for arm in arms]
        few = all(0 < len(one) <= max(1, len(arm) // _LEAST_RUNS) for one, arm in zip(values, arms, strict=True))
        if few and not set(values[0]) & set(values[1]) and not _is_the_arm(pair, values):
            shown = [", ".join(_shown(value) for value in one) for one in values]
            for model in pair.models:
                runs = pair.frame.filter(pl.col("model_name") == model)[name].count()
                yield _item(model, pair, name, (shown, runs))


def _are_weights(column: pl.Series) -> bool:
    """Whether a column names files of weights."""
    if column.dtype != pl.String or not column.count():
        return False
    return all(_WEIGHTS.search(text) for text in column.drop_nulls().unique())


def _file_name(value: Any) -> Any:  # noqa: ANN401 - of any column
    """The name of a file of weights without its folder; anything else as it is."""
    return re.split(r"[/\\]", value)[-1] if isinstance(value, str) and _WEIGHTS.search(value) else value


def _is_the_arm(pair: _Pair, values: list[list[Any]]) -> bool:
    """Whether the values are the arms' own names, or whether each is in a container."""
    words = [[str(value).casefold() for value in one] for one in values]
    arms = (pair.reference.casefold(), pair.other.casefold())
    named = all(
        all(word == arm or arm in re.split(r"[^a-z0-9]+", word) for word in one)
        for one, arm in zip(words, arms, strict=True)
    )
    return named or {word for one in words for word in one} <= {"native", "docker", "container", "host", "bare", "none"}


def _levels(case: Case, pairs: list[_Pair], name: str, tests: int) -> Iterator[dict[str, Any]]:
    """The level of a state that differs between two arms, over models."""
    for reference, other in dict.fromkeys((pair.reference, pair.other) for pair in pairs):
        both = compared(case, (reference, other)).drop_nulls(name)
        values = [numbers(of_arm(both, arm), name) for arm in (reference, other)]
        means = [float(one.mean()) if len(one) else 0.0 for one in values]
        apart, p = difference(case, name, reference, other)
        middle = max(abs(means[0]), abs(means[1]))
        if middle and abs(apart) >= _LEAST_SHARE * middle and p * max(1, tests) < _LEVEL:
            for model in both["model_name"].unique().to_list():
                frame = both.filter(pl.col("model_name") == model)
                pair = _Pair((model,), reference, other, frame)
                yield _item(model, pair, name, ([f"{mean:.4g} on average" for mean in means], len(frame)))


def _item(model: str, pair: _Pair, name: str, values: tuple[list[str], int]) -> dict[str, Any]:
    """What a finding shows: the column, its values in both arms, and of how many runs."""
    shown, runs = values
    arms = {"reference": pair.reference, "other": pair.other, "first": shown[0], "second": shown[1]}
    return {"column": name, "model": model, "runs": runs, **arms}


def _shown(value: Any) -> str:  # noqa: ANN401 - of any column
    return f"{value:g}" if isinstance(value, float) else str(value)


def _names(items: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(item["column"] for item in items))


def _together(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items that say the same of several models as one, with the runs of all."""
    same: dict[tuple[str, ...], dict[str, Any]] = {}
    for item in items:
        key = tuple(str(item[name]) for name in ("column", "reference", "other", "first", "second"))
        known = same.setdefault(key, {**item, "runs": 0, "models": []})
        known["runs"] += item["runs"]
        known["models"].append(item["model"])
    return list(same.values())
