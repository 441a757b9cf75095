"""TensorRT-LLM through its own benchmark, `trtllm-bench`: found on the environment's PATH, never imported here.

A run counts when the tool ended with status 0 *and* left a report that can be read, about as many requests as were
asked for. Neither alone suffices: interrupted, it ends with 0 and leaves nothing, and where NVML reports no memory clock
(GB10) a whole run can end with an empty report (`_trtllm.nvml_shim` prevents that). `_trtllm` holds the parts: `options`,
`features` (asked from the tool), `command`, `dataset`, and the readers of `report`, `requests`, `log` and `iterations`;
`double` simulates the tool.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sparkray.engines import EngineCommand, Job, Paths
from sparkray.engines._trtllm import command as commands
from sparkray.engines._trtllm.features import NEWEST, features_of, minor_of, probe_command, understand, version_warning
from sparkray.engines._trtllm.identity import identity
from sparkray.engines._trtllm.iterations import read_iterations
from sparkray.engines._trtllm.log import LogFacts, read_log
from sparkray.engines._trtllm.messages import message, note
from sparkray.engines._trtllm.options import TrtllmOptions, as_mapping, for_card, memory_warning, read_options
from sparkray.engines._trtllm.report import Report, number, read_report
from sparkray.engines._trtllm.requests import read_requests
from sparkray.engines._trtllm.shipping import DOUBLE_MARKER, double_files
from sparkray.errors import EngineFailedError, EngineOutputError, RunOutOfMemoryError
from sparkray.records import EngineFacts, Measurement, Request
from sparkray.units import NS_PER_S

LOG = "engine.log"
_DISAGREE = 0.02


class Engine:
    """The TensorRT-LLM engine."""

    name = "trtllm"
    image_contents = "reference"
    workloads = ("offline",)

    def options(self, mapping: Mapping[str, Any], source: str) -> Mapping[str, Any]:
        """See `Engine.options`."""
        return as_mapping(read_options(mapping, source))

    def simulator_files(self, options: Mapping[str, Any], python: str) -> dict[str, bytes]:
        """A simulated `trtllm-bench` as files of an image."""
        return double_files(minor_of(str(options.get("version") or NEWEST)) or NEWEST, python=python)

    def probe(self) -> tuple[str, ...] | None:
        """See `Engine.probe`."""
        return probe_command()

    def understand(self, output: str) -> Mapping[str, str]:
        """See `Engine.understand`."""
        return understand(output)

    def command(self, job: Job, paths: Paths) -> EngineCommand:
        """See `Engine.command`.

        Raises:
            ConfigError: Options, card and load do not fit each other.
            RunUnreadyError: The tool lacks an option that the run cannot do without.
        """
        options = _options(job)
        return commands.build(job, paths, options=options, features=features_of(job.tool, options.version, job.image))

    def warnings(self, job: Job, *, memory_floor_gib: float = 0.0) -> tuple[str, ...]:
        """See `Engine.warnings`: an uncertain version, and memory that the watchdog would find too little."""
        options = _options(job)
        version = version_warning(job.tool, options.version, job.image)
        memory = memory_warning(options, job.card, memory_floor_gib)
        return tuple(warning for warning in (version, memory) if warning is not None)

    def read(self, folder: Path, job: Job) -> Measurement:
        """See `Engine.read`.

        Raises:
            EngineOutputError: No report, or one that cannot be read or is about another number of requests.
            EngineFailedError: By its log the tool failed or was interrupted.
            RunOutOfMemoryError: By its log memory ran out.
        """
        log = read_log(_text(folder / LOG))
        data = _bytes(folder / commands.REPORT)
        if log.failed or log.interrupted or not (data or b"").strip():
            return _without_report(folder, job, log=log, data=data)
        report = read_report(data or b"")
        _expect(report.num_requests, job, "the report")
        requests = read_requests(_bytes(folder / commands.REQUESTS) or b"")
        _expect(len(requests), job, "the request file")
        return _measurement(folder, job, log=log, report=report, requests=requests)

    def salvage(self, folder: Path, job: Job) -> Measurement | None:
        """Whatever can be known of a run that failed, whatever it left; `notes` name what is missing."""
        log = read_log(_text(folder / LOG))
        notes: list[str] = [note("shim_off")] if _nvml_failed(log) and not _options(job).nvml_shim else []
        report: Report | None = None
        requests: tuple[Request, ...] = ()
        try:
            report = read_report(_bytes(folder / commands.REPORT) or b"")
        except EngineOutputError as error:
            notes.append(error.message)
        try:
            requests = read_requests(_bytes(folder / commands.REQUESTS) or b"")
        except EngineOutputError as error:
            notes.append(error.message)
        return _measurement(folder, job, log=log, report=report, requests=requests, notes=tuple(notes))

    def identity(self, measurement: Measurement, job: Job, *, model_path: str) -> tuple[str, ...]:
        """Where what ran departs from what was asked, in words; empty when it does not."""
        return identity(measurement.facts.reported, job, options=_options(job), model_path=model_path)


def _options(job: Job) -> TrtllmOptions:
    return for_card(read_options(job.options, "engine options"), job.card)


def _without_report(folder: Path, job: Job, *, log: LogFacts, data: bytes | None) -> Measurement:
    """The run as its request file shows it, where an NVML error took only the report; else the error that fits."""
    if _nvml_failed(log):
        try:
            requests = read_requests(_bytes(folder / commands.REQUESTS) or b"")
            _expect(len(requests), job, "the request file")
        except EngineOutputError:
            when = "nvml_before_report" if data is None else "nvml_in_report"
            remedy = "" if data is None or _options(job).nvml_shim else note("shim_off")
            raise EngineFailedError(note(when, error=log.last_error or "NVMLError"), remedy) from None
        return _measurement(folder, job, log=log, requests=requests, notes=message("nvml_recovered"))
    if log.interrupted:
        raise EngineFailedError(*message("interrupted"))
    if log.out_of_memory:
        raise RunOutOfMemoryError(*message("out_of_memory", error=log.last_error or note("see_log")))
    if log.failed:
        raise EngineFailedError(*message("failed", error=log.last_error or note("see_log")))
    state = note("missing_report") if data is None else note("empty_report", size=len(data))
    raise EngineOutputError(*message("no_report", state=state, error=log.last_error or "none"))


def _nvml_failed(log: LogFacts) -> bool:
    """Whether NVML is what ended the run, not a warning on the way to something else."""
    return not log.interrupted and log.nvml_error and (log.last_error is None or "NVML" in log.last_error)


def _expect(count: int, job: Job, file: str) -> None:
    if count != job.workload.requests:
        raise EngineOutputError(*message("wrong_count", file=file, count=count, asked=job.workload.requests))


def _measurement(
    folder: Path,
    job: Job,
    *,
    log: LogFacts,
    report: Report | None = None,
    requests: tuple[Request, ...] = (),
    notes: tuple[str, ...] = (),
) -> Measurement:
    iterations = read_iterations(_text(folder / commands.ITERATIONS)).summary()
    reported: dict[str, Any] = {
        **(report.reported if report else {}),
        "log": {name: value for name, value in asdict(log).items() if value is not None},
        **({"iteration_log": iterations} if iterations["iterations"] or iterations["iterations_skipped"] else {}),
    }
    if report is not None:
        reported["identity_mismatches"] = list(identity(reported, job, options=_options(job)))
    facts = EngineFacts(
        version=(report.text("version") if report else None) or log.version,
        model_path=report.text("model_path") if report else None,
        kv_cache_bytes=log.kv_cache_bytes,
        load_s=log.load_s,
        reported_peak_bytes=log.peak_bytes,
        reported=reported,
    )
    version = version_warning(job.tool, None, "")
    every_note = (*notes, *([version] if version else []), *_notes(log, report, requests))
    return Measurement(requests, facts, simulated=(folder / DOUBLE_MARKER).exists(), notes=every_note)


def _notes(log: LogFacts, report: Report | None, requests: tuple[Request, ...]) -> list[str]:
    notes = []
    if log.affinity_removed:
        notes.append(note("affinity_removed"))
    if report is not None and not report.streaming:
        notes.append(note("not_streamed"))
    reported = number(report.reported.get("system_output_throughput_tok_s")) if report else None
    span = max((r.end_ns for r in requests), default=0) - min((r.submit_ns for r in requests), default=0)
    if reported is not None and span > 0:
        computed = sum(r.output_tokens or 0 for r in requests) * NS_PER_S / span
        if abs(reported - computed) > _DISAGREE * computed:
            notes.append(note("totals_disagree", reported=reported, computed=computed))
    return notes


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _text(path: Path) -> str:
    return (_bytes(path) or b"").decode(errors="replace")
