"""Reasons why there is no number: codes with values in the tables, and their words for whoever shows them.

A cell holds a code and behind `?` the values that its words show, as in a URL: `too_few?n=1&what=pair&least=2`. `where`
names the part that it is about, and may be a code itself. `reasons.yaml` has the words; text that is no code stays as it
is.
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from urllib.parse import parse_qsl, urlencode

_BETWEEN = "; "


@lru_cache(maxsize=4096, typed=True)  # a table has one reason in many rows; typed, as 1 and 1.0 are written differently
def coded(code: str, **values: object) -> str:
    """A code with its values."""
    return f"{code}?{urlencode(values)}" if values else code


def located(reason: str, where: str) -> str:
    """A reason with the part that it is about."""
    return f"{reason}{'&' if '?' in reason else '?'}{urlencode({'where': where})}"


def worded(reasons: str | None) -> str:
    """The words of a cell, which may hold several reasons; empty where it holds none."""
    return _BETWEEN.join(_worded(one) for one in (reasons or "").split(_BETWEEN))


def _worded(reason: str) -> str:
    code, _, encoded = reason.partition("?")
    if code not in _texts():
        return reason
    pairs = parse_qsl(encoded, keep_blank_values=True)
    values = {"s": "" if ("n", "1") in pairs else "s", **dict(pairs)}
    parts = [worded(value) for name, value in reversed(pairs) if name == "where"]
    return ": ".join([*parts, _texts()[code].format_map(values)])


@cache
def _texts() -> Mapping[str, str]:
    import yaml  # noqa: PLC0415 - only what is shown needs words

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml: ten times as fast
    return dict(yaml.load((files("sparkray.stats") / "reasons.yaml").read_text("utf-8"), Loader=loader))  # noqa: S506 - safe
