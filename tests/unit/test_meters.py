"""The dashboard asks for what is exported, and for all of it."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sparkray.cluster.meters import ATTEMPTS, COLUMNS, OF_MACHINE, OF_SWEEP, PREFIX, Meters
from sparkray.metrics import BY_NAME

DASHBOARD = json.loads((Path(__file__).parents[2] / "conf/grafana/sparkray.json").read_text())


def test_the_dashboard_shows_every_meter_and_no_other() -> None:
    asked = " ".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    exported = {f"ray_{PREFIX}{name}" for name in (*OF_SWEEP, *OF_MACHINE, ATTEMPTS)}
    assert set(re.findall(rf"ray_{PREFIX}\w+", asked)) == exported


def test_panels_are_distinct_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


def test_meters_of_a_run_are_columns_of_its_row() -> None:
    assert set(COLUMNS) <= set(OF_MACHINE)
    assert set(COLUMNS.values()) - {"duration_s"} <= set(BY_NAME)


def test_of_a_machine_that_is_lost_nothing_is_shown() -> None:
    shown: list[tuple[str, float, dict[str, str]]] = []

    def of(name: str) -> Any:
        return SimpleNamespace(set=lambda value, tags: shown.append((name, value, tags)))

    meters = Meters("e")
    meters.gauges = {name: of(name) for name in (*OF_SWEEP, *OF_MACHINE)}
    meters.lose("b")
    assert {name for name, _, _ in shown} == set(OF_MACHINE)
    assert all(math.isnan(value) and tags == {"experiment": "e", "host": "b"} for _, value, tags in shown)
