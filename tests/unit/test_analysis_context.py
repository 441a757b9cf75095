"""The context of a study: what its attempts departed in."""

import json

import polars as pl

from sparkray.analysis.context import deviation_counts


def test_deviations_that_differ_in_their_count_alone_are_one() -> None:
    recorded = [
        ["11 requests were sent again", "--ulimit=nofile=5 left out"],
        ["13 requests were sent again"],
        [],
        ["3 GPUs"],
    ]
    attempts = pl.DataFrame({"deviations": [*map(json.dumps, recorded), json.dumps(recorded[1]), None]})
    expected = {"11 to 13 requests were sent again": 3, "--ulimit=nofile=5 left out": 1, "3 GPUs": 1}
    assert deviation_counts(attempts) == expected
