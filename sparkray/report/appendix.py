"""What one needs to know to do it again: digests, fingerprint of hardware and software, the machine's calibration."""

from collections.abc import Iterator, Mapping
from typing import Any

from sparkray.analysis.keys import CONTEXT
from sparkray.analysis.text import Say, Text, enumerated, number_of, say
from sparkray.report.book import Book
from sparkray.report.grid import Grid
from sparkray.report.labels import metric_name


def fingerprints(book: Book) -> Iterator[Grid]:
    """One table for each machine that measured."""
    machines = book.context.get("machines") or []
    for index, machine in enumerate(machines):
        rows = tuple(_facts(machine, f"machines/{index}"))
        yield Grid(
            f"machine-{index}", ("Fingerprint of the machine, as stored with every run.",), ("what", "value"), rows
        )


def identities(book: Book) -> Grid:
    """Digests and versions."""
    rows: list[tuple[Say, ...]] = []
    for name, path in (
        ("image", "image_digests"),
        ("files that the arms ran", "rootfs_digests"),
        ("sparkray that measured", "sparkray_versions"),
    ):
        for index, value in enumerate(book.context.get(path) or []):
            rows.append((name, number_of(str(value), "", trace=f"{CONTEXT}{path}/{index}", column="value")))
    for model, digests in (book.context.get("model_digests") or {}).items():
        for index, value in enumerate(digests):
            trace = f"{CONTEXT}model_digests/{model}/{index}"
            rows.append((f"weights of {model}", number_of(str(value), "", trace=trace, column="value")))
    rows.append(("sparkray that analysed", book.fact("analysed_with")))
    return Grid("identities", ("Identities, as computed where the runs were made.",), ("what", "identity"), tuple(rows))


def _facts(value: object, path: str, name: str = "") -> Iterator[tuple[Say, ...]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _facts(inner, f"{path}/{key}", f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _facts(inner, f"{path}/{index}", name)
    else:
        yield name, number_of(value, "number", trace=CONTEXT + path, column="value")


def calibration(book: Book) -> Grid | None:
    """What `calibrate` found on this machine; None when it was not run.

    A document of another form than `calibrate` writes today is shown value by value.
    """
    told: Mapping[str, Any] | None = book.context.get("calibration")
    if not told:
        return None
    metrics = told.get("metrics")
    if not isinstance(metrics, Mapping) or not {"runs", "model", "environment", "host", "sound"} <= set(told):
        caption: Text = ("The same arm against itself, on this machine and with this pipeline.",)
        return Grid("calibration", caption, ("what", "value"), tuple(_facts(told, "calibration")))
    rows = tuple(_calibrated(book, name) for name, one in metrics.items() if one.get("trials"))
    verdict = {True: "It held.", False: "It FAILED: see the cause."}.get(told["sound"], "Nothing could be judged.")
    caption = say(
        "{runs} runs of {model} in {environment} against themselves, on {host}: how often the pipeline finds a "
        "difference where there is none (sound is {alpha}). {verdict}",
        runs=book.fact("calibration/runs"),
        model=str(told["model"]),
        environment=str(told["environment"]),
        host=str(told["host"]),
        alpha=book.constant("alpha"),
        verdict=verdict,
    )
    head = (
        "metric",
        "paired design",
        "95 % CI",
        "arms one after the other",
        "smallest effect seen",
        "likely cause of failure",
    )
    return Grid("calibration", caption, head, rows)


def standing(book: Book) -> tuple[bool, Text] | None:
    """Whether the machine's calibration bears the verdicts out, and a sentence to stand beside them; None without one."""
    told: Mapping[str, Any] | None = book.context.get("calibration")
    metrics = told.get("metrics") if told else None
    if told is None or not isinstance(metrics, Mapping):
        return None
    judged = [name for name, one in metrics.items() if one.get("trials")]
    open_ = [metric_name(name) for name in metrics if name not in judged]
    if not judged:
        return False, ("The machine's calibration could judge nothing: how often its verdicts err is not known.",)
    template = (
        "The machine's calibration {word}: of the same arm against itself, the paired design found a difference in {rates}; "
        "sound is {alpha}{rest}."
    )
    said = say(
        template,
        word="held" if told.get("sound") else "FAILED, so these verdicts may be wrong more often than they say",
        rates=enumerated(
            say("{rate} experiments ({name})", rate=_rate(book, name), name=metric_name(name)) for name in judged
        ),
        alpha=book.constant("alpha"),
        rest=say("; not judged: {names}", names=enumerated(open_)) if open_ else "",
    )
    return bool(told.get("sound")), said


def _rate(book: Book, name: str, design: str = "paired") -> Text:
    trial = f"calibration/metrics/{name}/trials/0/{design}"
    return say("{k} of {n}", k=book.fact(f"{trial}/rejections"), n=book.fact(f"{trial}/experiments"))


def _calibrated(book: Book, name: str) -> tuple[Say, ...]:
    path = f"calibration/metrics/{name}"
    paired = f"{path}/trials/0/paired"
    return (
        metric_name(name),
        _rate(book, name),
        say("{low} to {high}", low=book.fact(f"{paired}/low", "share"), high=book.fact(f"{paired}/high", "share")),
        _rate(book, name, "blocked"),
        book.fact(f"{path}/reach/smallest_pct", "per_cent"),
        book.linked(book.facts.get(f"{path}/cause"), f"{CONTEXT}{path}/cause") or "–",
    )
