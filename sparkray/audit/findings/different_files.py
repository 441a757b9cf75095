"""Arms that ran different files or images: what differs between them may be the files' doing."""

from collections.abc import Iterator, Mapping

import polars as pl

from sparkray.audit.case import Case, labels, of_arm, reference_first
from sparkray.audit.finding import Finding, NotJudged

_DIGESTS = ("rootfs_digest", "image_digest")


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave where arms should have run the same files; a note where the experiment declares their images, or files agree.

    Files are compared where their digests are known, images otherwise or where the files agree. Machines whose files differ,
    with arms that ran the same ones on each, are no difference between arms.
    """
    known = [column for column in _DIGESTS if case.ok[column].null_count() < len(case.ok)]
    if not known:
        yield NotJudged("different_files/unknown")
    for column in known:
        arms = _digests(case, column)
        if len(set[str]().union(*arms.values())) > 1 and not _alike_in_each_block(case, column):
            items = [
                {"arm": arm, "images": _distinct(case, arm, "image"), "digests": sorted(digests)}
                for arm, digests in arms.items()
            ]
            values, rows = {"column": column, "items": items}, labels(case.ok)
            if len(known) > 1 and column == _DIGESTS[1]:
                yield Finding("different_files/image", values, "note", rows)
            elif _as_declared(case, arms):
                yield Finding("different_files/declared", values, "note", rows)
            else:
                yield Finding("different_files", values, "grave", rows)
            return


def _digests(case: Case, column: str) -> Mapping[str, set[str]]:
    """Values of a column by environment."""
    return {
        arm: set(_distinct(case, arm, column)) for arm in reference_first(case.ok["environment"].unique().to_list())
    }


def _alike_in_each_block(case: Case, column: str) -> bool:
    """Whether no block compares different files: each has one digest, and blocks of every arm are among them."""
    rows = case.ok.filter(pl.col("block").is_not_null(), pl.col(column).is_not_null())
    arms = case.ok["environment"].n_unique()
    within = rows.group_by("model_name", "block").agg(pl.col(column).n_unique(), pl.col("environment").n_unique())
    whole = within.filter(environment=arms)
    return len(rows) == len(case.ok) and len(whole) > 0 and bool((within[column] == 1).all())


def _distinct(case: Case, arm: str, column: str) -> list[str]:
    return list(of_arm(case.ok, arm)[column].drop_nulls().unique().sort().to_list())


def _as_declared(case: Case, arms: Mapping[str, set[str]]) -> bool:
    """Whether arms of one image, by the experiment, have one digest."""
    of_image: dict[str, set[str]] = {}
    for arm, digests in arms.items():
        of_image.setdefault(case.results.own_images.get(arm, ""), set()).update(digests)
    return all(len(digests) <= 1 for digests in of_image.values())
