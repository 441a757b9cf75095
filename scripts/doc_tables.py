"""The tables in `docs` that repeat files: `doc_tables.py [--write | --check]`.

The pages are written by hand; what stands between `<!-- generated: NAME -->` and `<!-- end -->` is made here from
`conf/models`, `conf/sites` and `experiments`, so that no figure is typed twice. Without an option the tables are printed;
`--write` puts them into the pages, `--check` ends with 1 when a page holds others. `data_dictionary.py`
makes `docs/reference/data.md`.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from sparkray.catalog import Catalog, data_root
from sparkray.config.docker import flag_of, flag_words, given
from sparkray.config.experiment import Experiment
from sparkray.config.model import Host, ModelCard, Shape, refusal
from sparkray.config.site import CONTAINER_BASELINE, Site
from sparkray.plan import make_plan, refused
from sparkray.schema import unit_of
from sparkray.timing import Timing
from sparkray.units import KIB, gib
from sparkray.workflows.options import Options, build_study

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = (DOCS / "explanation" / "methodology.md", DOCS / "tutorials" / "day-with-a-spark.md")
COMMAND = ".venv/bin/python scripts/doc_tables.py --write"
SITE, EXPERIMENT, SUPPORTED = "dgx-spark", "phase2a", "spark-supported"
_VENDORS = ("nvidia/", "openai/")
"""Owners of the checkpoints of NVIDIA's support matrix for the Spark."""
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _shape(card: ModelCard) -> Shape:
    """Raises ValueError for a card of the suite without a shape, which no plan could use."""
    if card.shape is None:
        raise ValueError(f"model card {card.name} has no shape")
    return card.shape


def _size(shape: Shape) -> str:
    total = f"{shape.params_total / 1e9:.1f}"
    return f"{total} ({shape.params_active / 1e9:.1f} active)" if shape.params_active else total


def suite_table(cards: Sequence[ModelCard]) -> list[str]:
    """One row a model of the suite: what it is, what it needs, why it is there."""
    head = _row(
        "tier", "model", "checkpoint", "parameters, 10⁹", "precision", "weights, GiB", "KV a token, KiB", "batch", "why"
    )
    rows = [
        _row(
            str(card.tier),
            card.name,
            f"`{card.hf_id}`",
            _size(_shape(card)),
            f"{card.quantisation}, rest {card.dtype}" if card.quantisation else card.dtype,
            f"{gib(_shape(card).weight_bytes):.1f}",
            f"{_shape(card).kv_bytes_per_token / KIB:.0f}",
            str(card.max_batch_size),
            card.why.strip(),
        )
        for card in cards
    ]
    return [head, "|---|---|---|---|---|---|---|---|---|", *rows]


def _host(site: Site) -> Host:
    return Host(site.engine, site.memory_gib, f"site {site.name}")


def refused_table(cards: Sequence[ModelCard], site: Site, experiment: Experiment) -> list[str]:
    """The models that cannot run as named on the site, with the reason and the nearest checkpoint that can."""
    tokens = experiment.workload.input_tokens + experiment.workload.output_tokens
    rows = []
    for card in cards:
        reason = refusal(card, _host(site), sequences=card.max_batch_size, tokens=tokens)
        if reason is not None:
            said = reason.removeprefix(f"{card.name}: ").partition("; nearest checkpoint")[0]
            rows.append(_row(card.name, said.strip(), f"`{card.instead}`" if card.instead else "none named"))
    return [
        _row("model", "why it cannot run", "nearest checkpoint that NVIDIA supports on a Spark"),
        "|---|---|---|",
        *rows,
    ]


def able_cards(cards: Sequence[ModelCard], site: Site, experiment: Experiment) -> list[ModelCard]:
    """The models that can run as named on the site."""
    tokens = experiment.workload.input_tokens + experiment.workload.output_tokens
    return [card for card in cards if refusal(card, _host(site), sequences=card.max_batch_size, tokens=tokens) is None]


def supported_table(cards: Sequence[ModelCard], measured: Sequence[str]) -> list[str]:
    """The checkpoints that NVIDIA supports on a Spark; `measured` are those of the experiment, by name."""
    rows = [
        _row(
            f"{card.name}{'' if card.name in measured else ' (not in the experiment)'}",
            f"`{card.hf_id}`",
            _size(_shape(card)),
            f"{card.quantisation}, rest {card.dtype}",
            f"{gib(_shape(card).weight_bytes):.1f}",
            f"{_shape(card).kv_bytes_per_token / KIB:.0f}",
            card.why.strip(),
            "; ".join(card.unverified) or "none",
        )
        for card in sorted(cards, key=lambda card: _shape(card).weight_bytes)
    ]
    head = _row(
        "model", "checkpoint", "parameters, 10⁹", "precision", "weights, GiB", "KV a token, KiB", "why", "unverified"
    )
    return [head, "|---|---|---|---|---|---|---|---|", *rows]


def checkpoints_table(cards: Sequence[ModelCard], site: Site, experiment: Experiment) -> list[str]:
    """Where each model that can run is looked for, and how much there is to download."""
    able = able_cards(cards, site, experiment)
    sizes = {card.name: _shape(card).weight_bytes / 1e9 for card in able}
    rows = [
        _row(card.name, f"`{card.hf_id}`", f"`{site.models_root}/{card.weights.path}`", f"{sizes[card.name]:.0f}")
        for card in sorted(able, key=lambda card: sizes[card.name])
    ]
    total = _row("all of them", "", "", f"{sum(sizes.values()):.0f}")
    return [_row("model", "repository", "folder", "GB"), "|---|---|---|---|", *rows, total]


def flags_table(site: Site) -> list[str]:
    """The flags of the baseline container, with what each is for."""
    options = site.environments[CONTAINER_BASELINE].options
    rows = [
        _row(f"`{word}`", flag_of(name).why)
        for (name, _, _), word in zip(given(options), flag_words(options), strict=True)
    ]
    return [_row("flag", "what it does"), "|---|---|", *rows]


def protocol_table(experiment: Experiment) -> list[str]:
    """What the experiment file fixes."""
    load, protocol = experiment.workload, experiment.protocol
    facts: Mapping[str, object] = {
        "environments": ", ".join(experiment.environments),
        "blocks for each model": experiment.runs,
        "order inside a block": experiment.order,
        "seed of orders and prompts": experiment.seed,
        "requests a run": f"{load.requests}, after {load.warmup_requests} for warm-up",
        "tokens in, tokens out": f"{load.input_tokens}, {load.output_tokens}",
        "requests in flight": load.concurrency or "the card's batch size",
        "primary metrics": ", ".join(f"`{name}`" for name in experiment.primary_metrics),
        "margins": _margins(experiment),
        "page cache before a run": f"`{protocol.page_cache}`",
        "cooldown": f"`{protocol.cooldown}`",
        "memory floor of the watchdog": f"{protocol.memory_floor_gib:g} GiB",
        "KV cache": f"`{experiment.engine.get('kv_cache', 'self')}`",
        "longest a run may take": f"{experiment.timeout_s:g} s",
        "attempts at a run that is invalid or interrupted": experiment.max_attempts,
    }
    return [_row("", f"`experiments/{EXPERIMENT}.yaml`"), "|---|---|", *(_row(k, str(v)) for k, v in facts.items())]


def _margins(experiment: Experiment) -> str:
    """Margins that verdicts rest on: of the difference where there is one, in the metric's unit, else of the ratio."""
    absolute = experiment.difference_margins
    shown = {name: f"{margin:.1%}" for name, margin in experiment.margins.items()}
    shown |= {name: f"{margin:g} {unit_of(name)}" for name, margin in absolute.items()}
    return ", ".join(f"`{name}` {margin}" for name, margin in shown.items())


def hours_row(what: str, options: Options) -> str:
    """What a sweep on the site costs before anything was measured: runs, how many can run, hours by kind of cooldown."""
    study = build_study(options)
    runs, timing = make_plan(study), Timing(study, None)
    able = sum(1 for run in runs if refused(study, run) is None)
    hours = {kind: sum(timing.total_s(run, kind) for run in runs) / 3600 for kind in ("adaptive", "fixed")}
    return _row(
        what, str(len(runs)), str(able), *(f"{value:.1f}" if value < 1 else f"{value:.0f}" for value in hours.values())
    )


def hours_table(able: Sequence[str]) -> list[str]:
    """The sweeps of the quickstart. `able` are the models that can run, by name."""
    largest = max(able, key=lambda name: _shape(Catalog(data_root()).card(name)).weight_bytes)
    others = ",".join(name for name in able if name != largest)
    sweeps = {
        "`quick`, Qwen2-1.5B": Options(site=SITE, models="Qwen2-1.5B", runs=3),
        "`baseline`": Options(site=SITE),
        f"of it, {largest}": Options(site=SITE, models=largest),
        "of it, all others": Options(site=SITE, models=others),
        "`validate`": Options(site=SITE, experiment="phase2d"),
        "`baseline --experiment low-latency`": Options(site=SITE, experiment="low-latency"),
        "`baseline --experiment batch-concurrency`": Options(site=SITE, experiment="batch-concurrency"),
        f"`baseline --experiment {SUPPORTED}`": Options(site=SITE, experiment=SUPPORTED),
    }
    head = _row("sweep", "runs planned", "that can run", "hours, adaptive cooldown", "hours, fixed cooldown")
    return [head, "|---|---|---|---|---|", *(hours_row(what, options) for what, options in sweeps.items())]


@cache
def tables() -> dict[str, list[str]]:
    """Every generated table by the name of its block, as lines."""
    catalog = Catalog(data_root())
    site, experiment = catalog.site(SITE), catalog.experiment(EXPERIMENT)
    cards = sorted(
        (card for card in catalog.cards() if card.tier > 0), key=lambda card: (card.tier, _shape(card).weight_bytes)
    )
    return {
        "suite": suite_table(cards),
        "supported": supported_table(
            [card for card in catalog.cards() if card.quantisation and (card.hf_id or "").startswith(_VENDORS)],
            catalog.experiment(SUPPORTED).models,
        ),
        "refused": refused_table(cards, site, experiment),
        "checkpoints": checkpoints_table(cards, site, experiment),
        "hours": hours_table([card.name for card in able_cards(cards, site, experiment)]),
        "flags": flags_table(site),
        "protocol": protocol_table(experiment),
    }


def filled(page: str) -> str:
    """The page with every block made anew.

    Raises:
        KeyError: The page has a block that nothing here makes.
    """
    made = tables()
    return BLOCK.sub(lambda found: found[1] + "\n".join(made[found[2]]) + "\n" + found[3], page)


def main(words: Sequence[str]) -> int:
    """Print, write or check the tables. Returns the exit status: 1 when a page is stale, 2 for an unknown option."""
    if words and list(words) not in (["--write"], ["--check"]):
        print(f"unknown option {' '.join(words)!r}: give --write, --check or nothing", file=sys.stderr)
        return 2
    if not words:
        for name, lines in tables().items():
            print(f"<!-- generated: {name} -->", *lines, "<!-- end -->", "", sep="\n")
        return 0
    stale = {page: new for page in PAGES if (new := filled(old := page.read_text(encoding="utf-8"))) != old}
    for page, new in stale.items():
        if list(words) == ["--write"]:
            page.write_text(new, encoding="utf-8")
        else:
            print(f"{page} does not hold what the files say. Run: {COMMAND}", file=sys.stderr)
    return 1 if stale and list(words) == ["--check"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
