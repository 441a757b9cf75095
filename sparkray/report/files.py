"""Did every arm run the same files? What the digests of the runs show, and no more."""

from sparkray.analysis.text import Text, enumerated, say
from sparkray.report.book import Book
from sparkray.report.labels import arm


def same_files(book: Book) -> Text:
    """That all arms ran the same files, where every run's digest says so; else which arms do not tell, or differ."""
    files = (book.context.get("conduct") or {}).get("files") or {}
    told = {digest for one in files.values() for digest in one["digests"]}
    silent = [name for name, one in files.items() if one["not_told"]]
    if not told:
        return ("No run tells a digest of its files, so that the arms ran the same is not shown.",)
    if len(told) > 1:
        return say(
            "More than one set of files was run ({n} digests): {where}.",
            n=book.count_of("rootfs_digests"),
            where=enumerated(
                say("{arm} {k}", arm=arm(name), k=book.count_of(f"conduct/files/{name}/digests")) for name in files
            ),
        )
    if silent:
        return say(
            "The digests that there are are alike; {arms} did not tell theirs in every run, so of these it is not shown.",
            arms=enumerated(map(arm, silent)),
        )
    if len(files) == 1:
        return ("Every run of the one arm tells the same digest of its files.",)
    return ("Every run of every arm tells the same digest of its files.",)
