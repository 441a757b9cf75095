"""Arms that ran different files or images: what differs between them may be the files' doing."""

from collections.abc import Iterator, Mapping

from sparkray.audit.case import Case, labels, of_arm, reference_first
from sparkray.audit.finding import Finding, NotJudged

_DIGESTS = ("rootfs_digest", "image_digest")


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave where arms should have run the same files; a note where the experiment declares their images, or files agree.

    Files are compared where their digests are known, images otherwise or where the files agree.
    """
    known = [column for column in _DIGESTS if case.ok[column].null_count() < len(case.ok)]
    if not known:
        yield NotJudged("different_files/unknown")
    for column in known:
        arms = _digests(case, column)
        if len(set[str]().union(*arms.values())) > 1:
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


def _distinct(case: Case, arm: str, column: str) -> list[str]:
    return list(of_arm(case.ok, arm)[column].drop_nulls().unique().sort().to_list())


def _as_declared(case: Case, arms: Mapping[str, set[str]]) -> bool:
    """Whether arms of one image, by the experiment, have one digest."""
    of_image: dict[str, set[str]] = {}
    for arm, digests in arms.items():
        of_image.setdefault(case.results.own_images.get(arm, ""), set()).update(digests)
    return all(len(digests) <= 1 for digests in of_image.values())
