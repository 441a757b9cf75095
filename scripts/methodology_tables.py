"""The tables of `docs/methodology.md` that repeat files: `methodology_tables.py [--write | --check]`.

The page is written by hand; what stands between `<!-- generated: NAME -->` and `<!-- end -->` is made here from
`conf/models`, `conf/sites` and `experiments`, so that no figure is typed twice. Without an option the tables are printed;
`--write` puts them into the page, `--check` ends with 1 when the page holds others.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sparkray.catalog import Catalog, data_root
from sparkray.spec.docker import flag_of, flag_words, given
from sparkray.spec.experiment import Experiment
from sparkray.spec.model import ModelCard, Shape, refusal
from sparkray.spec.site import CONTAINER_BASELINE, Site
from sparkray.units import KIB, gib

PAGE = Path(__file__).resolve().parent.parent / "docs" / "methodology.md"
COMMAND = ".venv/bin/python scripts/methodology_tables.py --write"
SITE, EXPERIMENT = "dgx-spark", "phase2a"
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


def refused_table(cards: Sequence[ModelCard], site: Site, experiment: Experiment) -> list[str]:
    """The models that cannot run as named on the site, with the reason and the nearest checkpoint that can."""
    tokens = experiment.workload.input_tokens + experiment.workload.output_tokens
    rows = []
    for card in cards:
        reason = refusal(card, site.memory_gib, sequences=card.max_batch_size, tokens=tokens)
        if reason is not None:
            said = reason.removeprefix(f"{card.name}: ").partition("; nearest checkpoint")[0]
            rows.append(_row(card.name, said.strip(), f"`{card.instead}`" if card.instead else "none named"))
    return [_row("model", "why it cannot run", "nearest checkpoint that can"), "|---|---|---|", *rows]


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
        "margins": ", ".join(f"`{name}` {margin:.1%}" for name, margin in experiment.margins.items()),
        "page cache before a run": f"`{protocol.page_cache}`",
        "cooldown": f"`{protocol.cooldown}`",
        "memory floor of the watchdog": f"{protocol.memory_floor_gib:g} GiB",
        "KV cache": f"`{experiment.engine.get('kv_cache', 'self')}`",
        "longest a run may take": f"{experiment.timeout_s:g} s",
        "attempts at a run that is invalid or interrupted": experiment.max_attempts,
    }
    return [_row("", f"`experiments/{EXPERIMENT}.yaml`"), "|---|---|", *(_row(k, str(v)) for k, v in facts.items())]


def tables() -> dict[str, list[str]]:
    """Every generated table by the name of its block, as lines."""
    catalog = Catalog(data_root())
    site, experiment = catalog.site(SITE), catalog.experiment(EXPERIMENT)
    cards = sorted(
        (card for card in catalog.cards() if card.tier > 0), key=lambda card: (card.tier, _shape(card).weight_bytes)
    )
    return {
        "suite": suite_table(cards),
        "refused": refused_table(cards, site, experiment),
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
    """Print, write or check the tables. Returns the exit status: 1 when the page is stale, 2 for an unknown option."""
    if list(words) == ["--write"]:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    if list(words) == ["--check"]:
        page = PAGE.read_text(encoding="utf-8")
        if filled(page) == page:
            return 0
        print(f"docs/methodology.md does not hold what the files say. Run: {COMMAND}", file=sys.stderr)
        return 1
    if words:
        print(f"unknown option {' '.join(words)!r}: give --write, --check or nothing", file=sys.stderr)
        return 2
    for name, lines in tables().items():
        print(f"<!-- generated: {name} -->", *lines, "<!-- end -->", "", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
