"""Did the arms run the same files? Digests and images of each arm, as its rows recorded them."""

from collections.abc import Mapping
from typing import Any, Literal

from sparkray.analysis.frames import Frames, rank

Bits = Literal["unknown", "same", "same_files", "by_image", "differ"]
_LISTED = {"digests": "rootfs_digest", "image_digests": "image_digest", "images": "image"}


def files_of(frames: Frames, own_images: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """By environment of ok runs: digests of its files, digests and references of its image, and how it differs by plan.

    Args:
        frames: The runs.
        own_images: By environment, those that stand in place of the site's.

    Returns:
        `digests`, `image_digests`, `images` (each once, sorted), `not_recorded` (runs without a digest of their files) and
        `own_image` (empty where the arm is to run the files of the site's image).
    """
    files: dict[str, dict[str, Any]] = {}
    for environment in sorted(frames.ok["environment"].unique().to_list(), key=rank):
        runs = frames.ok.filter(frames.ok["environment"] == environment)
        files[environment] = {
            **{name: runs[column].drop_nulls().unique().sort().to_list() for name, column in _LISTED.items()},
            "not_recorded": runs["rootfs_digest"].null_count(),
            "own_image": own_images.get(environment, ""),
        }
    return files


def bits_of(files: Mapping[str, Mapping[str, Any]]) -> Bits:
    """What the digests show.

    Returns:
        `unknown`: no run has one. `same`: one set of files. `same_files`: the same, of images that differ (in variables or a
        command). `by_image`: files that differ as the experiment's images do. `differ`: files that should not.
    """
    of_image: dict[str, set[str]] = {}
    for one in files.values():
        of_image.setdefault(one["own_image"], set()).update(one["digests"])
    digests = set[str]().union(*of_image.values())
    if not digests:
        return "unknown"
    if len(digests) == 1:
        return (
            "same_files" if len({digest for one in files.values() for digest in one["image_digests"]}) > 1 else "same"
        )
    return "by_image" if all(len(own) <= 1 for own in of_image.values()) else "differ"
