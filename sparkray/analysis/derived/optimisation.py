"""Tables of what `optimize` found: levels, factors, trials, candidates, attribution steps, hypotheses.

They are read from the document of the optimisation (`sparkray.analysis.optimized`) and repeat its estimates; only per cent
are made of factors here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import polars as pl

from sparkray.analysis.derived.attribution import attribution
from sparkray.analysis.optimized import Effect
from sparkray.analysis.schema import DERIVED, frame_of

Document = Mapping[str, Any]
GRADES = ("none", "weakens", "dangerous")
_EFFECT = [one.name for one in fields(Effect) if one.name not in ("environment", "against", "metric")]
MEMORY, KV_CACHE = "host_available_drop_peak_gib", "kv_cache_gib"


def optimisation(document: Document | None) -> Mapping[str, pl.DataFrame]:
    """Every table of an optimisation by its name; none without a document."""
    if document is None:
        return {}
    steps = document["attribution"] or {"results": (), "excluded": ()}
    rows: Mapping[str, Iterable[Mapping[str, Any]]] = {
        "flag_levels": _levels(document),
        "flag_models": _models(document),
        "flag_factors": _factors(document),
        "flag_trials": _tried(document),
        "flag_candidates": _candidates(document),
        "flag_facts": _facts(document),
        "layers_excluded": _excluded(document, steps["excluded"]),
        "hypotheses": _hypotheses(document),
    }
    attributed = attribution(
        (
            one["model"],
            one["metric"],
            one["estimates"],
            _from(document, "attribution/results", "attribute", metric=one["metric"]),
        )
        for one in steps["results"]
    )
    return {**{name: frame_of(DERIVED[name], made) for name, made in rows.items()}, "attribution": attributed}


def runs_condition(environments: Sequence[str], runs: Sequence[str] = ()) -> str:
    """SQL over the runs of a dataset: those that count, of these environments or of these ids."""
    column, names = ("run_id", runs) if runs else ("environment", environments)
    listed = ", ".join(f"'{name}'" for name in names)
    return f"status = 'ok' AND {column} IN ({listed})" if names else "status = 'ok'"


def _name(document: Document) -> str:
    return f"{document['experiment']}-optimize.json"


def _from(
    document: Document, place: str, stage: str, where: str = "status = 'ok'", metric: str | None = None
) -> dict[str, str | None]:
    """Where a row comes from."""
    folder = document["datasets"].get(stage)
    others = [path for name, path in document["datasets"].items() if name.startswith(f"{stage} on ")]
    found: dict[str, str | None] = {"document": _name(document), "place": place}
    if folder is None:
        return found
    name = Path(folder).name
    folders = [name, *(str(Path(name, Path(other).relative_to(folder))) for other in others)]
    column = None if stage == "search" else metric or document["metric"]
    return {**found, "dataset": " ".join(folders), "condition": where, "column": column}


def _effect(found: Document | None) -> dict[str, Any]:
    return {} if found is None else {name: found.get(name) for name in _EFFECT}


def _levels(document: Document) -> Iterator[dict[str, Any]]:
    """In the order of the space."""
    for place, level in enumerate(document["levels"]):
        against = [level["effect"]["against"]] if level["effect"] else []
        where = runs_condition([level["environment"], *against])
        yield {
            **level,
            **_effect(level["effect"]),
            "trace": f"flag_levels/{level['factor']}={level['level']}",
            **_from(document, f"levels/{place}", "screen", where),
        }


def _models(document: Document) -> Iterator[dict[str, Any]]:
    """What each level and each candidate did on each model alone."""
    levels = [("level", f"{one['factor']}={one['level']}", one) for one in document["levels"]]
    candidates = [
        ("candidate", one["environment"], one) for one in (document["confirmation"] or {}).get("candidates", ())
    ]
    for kind, name, one in (*levels, *candidates):
        stage = "screen" if kind == "level" else "confirm"
        for model, found in (one.get("by_model") or {}).items():
            where = f"{runs_condition([found['environment'], found['against']])} AND model = '{model}'"
            yield {
                **_effect(found),
                "kind": kind,
                "name": name,
                "model": model,
                "trace": f"flag_models/{kind}/{name}/{model}",
                **_from(document, f"{kind} {name}, by_model/{model}", stage, where),
            }


def _factors(document: Document) -> Iterator[dict[str, Any]]:
    """Of each factor what its levels did alone, and its share in the search; in the order of the space."""
    shares = (document["search"] or {}).get("importance") or {}
    for factor in dict.fromkeys(level["factor"] for level in document["levels"]):
        mine = [one for one in document["levels"] if one["factor"] == factor and one["state"] == "measured"]
        gains = {
            one["level"]: one["effect"]["gain_pct"]
            for one in mine
            if one["effect"] and one["effect"]["gain_pct"] is not None
        }
        if not gains and factor not in shares:
            continue
        best, worst = (max(gains, key=gains.__getitem__), min(gains, key=gains.__getitem__)) if gains else (None, None)
        yield {
            "trace": f"flag_factors/{factor}",
            "factor": factor,
            "best": best,
            "worst": worst,
            "best_pct": gains.get(str(best)),
            "worst_pct": gains.get(str(worst)),
            "importance": shares.get(factor),
            **_from(document, f"levels of {factor} and search/importance/{factor}", "screen"),
        }


def _pct(factor: float | None) -> float | None:
    return None if factor is None else 100 * (factor - 1)


def _tried(document: Document) -> Iterator[dict[str, Any]]:
    """The best first; `label` is the letter of a configuration on the front."""
    front = 0
    for place, one in enumerate((document["search"] or {}).get("tried", ())):
        label = _letters(front) if one["on_front"] else None
        front += one["on_front"]
        yield {
            **one,
            "trace": f"flag_trials/{one['environment']}",
            "trials": ", ".join(map(str, one["trials"])),
            "isolation": GRADES.index(one["security"]),
            "gain_pct": _pct(one["ratio"]),
            "estimate_pct": _pct(one["estimate"]),
            "memory_gib": one["metrics"].get(MEMORY),
            "kv_cache_gib": one["metrics"].get(KV_CACHE),
            "run_ids": " ".join(one["run_ids"]),
            "label": label,
            **_from(document, f"search/tried/{place}", "search", runs_condition([one["environment"]], one["run_ids"])),
        }


def _letters(place: int) -> str:
    """A to Z, then AA, AB, and so on."""
    return (_letters(place // 26 - 1) if place >= 26 else "") + chr(ord("A") + place % 26)  # noqa: PLR2004 - letters


def _candidates(document: Document) -> Iterator[dict[str, Any]]:
    for place, one in enumerate((document["confirmation"] or {}).get("candidates", ())):
        sides = {
            f"{name}_{key}": one[part][key]
            for name, part in (("native", "to_native"), ("memory", "memory"))
            for key in ("ratio", "low", "high")
        }
        where = runs_condition([one["environment"], one["effect"]["against"], one["to_native"]["against"]])
        yield {
            **one,
            **_effect(one["effect"]),
            **sides,
            "wins": "yes" if one["wins"] else "no",
            "trace": f"flag_candidates/{one['environment']}",
            **_from(document, f"confirmation/candidates/{place}", "confirm", where),
        }


def _facts(document: Document) -> Iterator[dict[str, Any]]:
    """Single values of the document, one a row."""
    for name in ("metric", "better", "host", "site", "made_at", "baseline_flags", "output"):
        yield _fact(document, name, text=document[name])
    for name in ("simulated", "complete"):
        yield _fact(document, name, text="yes" if document[name] else "no")
    yield _fact(document, "margin", value=document["margin"])
    for name, value in document["settings"].items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        yield _fact(document, f"settings/{name}", **({"value": float(value)} if number else {"text": str(value)}))
    if document["overhead"]:
        made = document["overhead"]
        where = runs_condition([made["environment"], made["against"]])
        yield {**_fact(document, "overhead"), **_effect(made), **_from(document, "overhead", "screen", where)}
    yield from _stage_facts(document)


def _stage_facts(document: Document) -> Iterator[dict[str, Any]]:
    """Facts of search and confirmation, as far as these stages were reached."""
    search, confirmation = document["search"], document["confirmation"]
    if search:
        for name in ("evaluations", "noise_pct", "abandoned", "corrected"):
            yield _fact(document, f"search/{name}", value=search.get(name))
        for name in ("study", "storage", "importance_reason"):
            yield _fact(document, f"search/{name}", text=search[name])
    if confirmation:
        yield _fact(document, "confirmation/blocks", value=confirmation["blocks"])
        where = runs_condition([one["environment"] for one in confirmation["candidates"]])
        source = _from(document, "confirmation/sentence", "confirm", where)
        yield {**_fact(document, "confirmation/sentence", text=confirmation["sentence"]), **source}
        yield _fact(document, "confirmation/winner", text=confirmation["winner"])


def _fact(document: Document, name: str, value: float | None = None, text: str | None = None) -> dict[str, Any]:
    source = {"document": _name(document), "place": name}
    number = None if value is None else float(value)
    return {"trace": f"flag_facts/{name}", "name": name, "value": number, "text": text, **source}


def _excluded(document: Document, excluded: Iterable[Document]) -> Iterator[dict[str, Any]]:
    for place, one in enumerate(excluded):
        source = _from(document, f"attribution/excluded/{place}", "none")
        yield {**one, "trace": f"layers_excluded/{one['direction']}/{one['layer']}", **source}


def _hypotheses(document: Document) -> Iterator[dict[str, Any]]:
    for place, one in enumerate(document["hypotheses"]):
        # A document of an earlier version has no `stage`; its `combination` was judged by the confirmation.
        stage = one.get("stage") or ("confirm" if one["name"] == "combination" else "screen")
        yield {**one, "trace": f"hypotheses/{one['name']}", **_from(document, f"hypotheses/{place}", stage)}
