"""Columns of `runs`, `requests`, `samples` and `checks` with type, unit and meaning; the records in memory. Pure.

Every quantity's column ends in its unit; missing data is null, never 0. `metrics` declares the metric columns of `runs`. The
two together are the data dictionary (`docs/reference/data.md`).

Schema versions: the first number changes when a column changes its meaning or is removed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sparkray.config.docker_columns import DOCKER_COLUMNS
from sparkray.schema import Column

SCHEMA_VERSION = "1.4"

Status = Literal["ok", "failed", "timeout", "oom", "unready", "invalid", "interrupted"]
STATUSES: tuple[Status, ...] = ("ok", "failed", "timeout", "oom", "unready", "invalid", "interrupted")


RUN_COLUMNS: tuple[Column, ...] = (
    Column("run_id", "string", "content hash of the run's definition; equal in every plan that contains it"),
    Column("attempt", "int", "1 for the first attempt; failed attempts are kept"),
    Column("experiment", "string", "name of the experiment"),
    Column("experiment_sha256", "string", "hash of the experiment as run, with options and every check's policy"),
    Column("site", "string", "name of the site"),
    Column("block", "int", "block, from 0 within a model; runs are compared inside blocks"),
    Column("position", "int", "place of the run in the plan, from 0"),
    Column("host", "string", "machine that ran it"),
    Column("workload", "string", "kind of workload"),
    Column("model", "string", "model card's name"),
    Column("environment", "string", "native, host, container_baseline, container_optimized"),
    Column("replicate", "int", "1 to N within model, level and environment"),
    Column("level", "string", "level of the load; empty where there is only one"),
    Column("concurrency", "int", "requested number of requests in flight"),
    Column("status", "string", "ok, failed, timeout, oom, unready, invalid, interrupted; only ok counts"),
    Column("reason", "string", "why it is not ok"),
    Column("simulated", "bool", "true when the engine was simulated"),
    Column("started_at", "timestamp", "when the engine was started, UTC"),
    Column("ended_at", "timestamp", "when the engine had ended, UTC"),
    Column("duration_s", "float", "from just before the environment is created to just after it is removed"),
    Column("engine_lifetime_s", "float", "from the engine's start to its end, as it reports"),
    Column("dead_time_s", "float", "duration less the engine's lifetime: overhead of the environment"),
    Column("exit_code", "int", "exit status of the engine; negative for a signal"),
    Column("oom_kills", "int", "OOM kills on the whole machine during the run"),
    Column("container_oom_killed", "bool", "whether Docker reports an OOM kill in the container; null elsewhere"),
    Column("engine", "string", "engine's name"),
    Column("engine_version", "string", "version as the engine reports it"),
    Column("engine_command", "string", "argv as JSON, as seen inside the environment"),
    Column("model_path", "string", "model file or folder as the engine reports it"),
    Column("model_sha256", "string", "identity of the weights as computed inside the environment"),
    Column("checkpoint_sha256", "string", "hash of the checkpoint's config and weight index on the host"),
    Column("weights_digest", "string", "hash of every file of the checkpoint before the run; null for a single file"),
    Column("model_architecture", "string", "architecture as the engine reports it"),
    Column("dataset_sha256", "string", "hash of the prompts"),
    Column("image", "string", "resolved image reference; null on the host arm"),
    Column("image_digest", "string", "identity of the image; null on the host arm"),
    Column("rootfs_digest", "string", "hash of the files that this arm runs, computed from them"),
    Column("docker_command", "string", "docker run command for the same container; null outside Docker"),
    *DOCKER_COLUMNS,
    Column("start_state", "string", "JSON: declared nice, oom_score_adj, umask, rlimits and affinity"),
    Column("effective_state", "string", "JSON: effective state of the engine's process, read from outside"),
    Column("deviations", "string", "JSON list: deviations from what was requested"),
    Column("machine", "string", "JSON: fingerprint of hardware and software"),
    Column("sparkray_version", "string", "version of sparkray"),
    Column("seed", "int", "seed of the experiment"),
    Column("log_sha256", "string", "hash of the engine's kept output"),
    Column("requests_planned", "int", "requested requests without warm-up"),
    Column("requests_done", "int", "completed requests without warm-up"),
    Column(
        "pace_drift_ratio",
        "float",
        "median ms per token of the last third of the requests over the first third's; null with fewer than 8 usable",
    ),
    Column("engine_load_s", "float", "model load time by the engine's clock"),
    Column("engine_threads", "int", "compute threads of the engine"),
    Column("engine_devices", "int", "GPUs that the engine shards the model over, as it reports"),
    Column("gate_wait_s", "float", "time before the start for cooldown and page cache"),
    Column(
        "gpu_temp_gate_c",
        "float",
        "temperature of the hottest GPU at the end of the cooldown, before the control probe",
    ),
    Column(
        "gpu_temp_reference_c", "float", "reference start temperature of this experiment's runs; null for the first"
    ),
    Column("page_cache_dropped", "bool", "whether the page cache was dropped before; null when not requested"),
    Column("mem_total_gib", "float", "MemTotal"),
    Column("mem_free_before_gib", "float", "MemFree just before the start"),
    Column("mem_available_before_gib", "float", "MemAvailable just before the start"),
    Column("page_cache_before_gib", "float", "Cached just before the start"),
    Column("swap_used_before_gib", "float", "SwapTotal less SwapFree just before the start"),
    *(
        Column(f"probe_{what}_{when}_ms", "float", f"control probe {when} the run: {meaning}")
        for what, meaning in (
            ("cpu", "time of a fixed computation on one core"),
            ("memory", "time of fixed copies in host memory"),
            ("gpu_memory", "time of fixed copies in GPU memory"),
            ("gpu_compute", "time of a fixed computation on the GPU"),
        )
        for when in ("before", "after")
    ),
    Column("wall_clock_step_s", "float", "wall clock change during the run less monotonic clock change"),
    Column("observer_cpu_s", "float", "CPU seconds of sparkray's process during the run"),
    Column("observer_memory_gib", "float", "RSS of sparkray's process at the end of the run"),
    Column("sampler_cpu_s", "float", "CPU seconds of the samplers, writing included"),
    Column("ray_cpu_s", "float", "CPU seconds of Ray's own processes during the run, without the runner"),
    Column("ray_memory_gib", "float", "RSS of Ray's own processes at the end of the run, without the runner"),
    Column(
        "power_valid",
        "bool",
        "whether integrated power and energy counter agree; null where either is missing",
    ),
)

REQUEST_COLUMNS: tuple[Column, ...] = (
    Column("run_id", "string", "the run it belongs to"),
    Column("attempt", "int", "the try at that run"),
    Column("request", "int", "index in the order of submission, warm-up included"),
    Column("warmup", "bool", "true for warm-up requests, which no metric counts"),
    Column("input_tokens", "int", "prompt tokens, counted by the engine; null where it reports none"),
    Column("output_tokens", "int", "generated tokens, counted by the engine; null where it reports none"),
    Column("submit_ns", "int", "submission, machine's monotonic clock"),
    Column("first_token_ns", "int", "first token; null when the engine does not stream"),
    Column("end_ns", "int", "end of the request"),
    Column("token_ns", "int_list", "time of every token, where the engine reports it"),
    Column("error", "string", "why the request failed; else null"),
    Column(
        "error_kind", "string", "kind of that failure; null where nothing failed, and of engines that do not report one"
    ),
    Column("due_ns", "int", "when the request was due by the arrival process; null in a closed loop"),
    Column("chunks", "int", "chunks of the stream that held text; null where the load was made inside the environment"),
)

SAMPLE_COLUMNS: tuple[Column, ...] = (
    Column("run_id", "string", "the run it belongs to"),
    Column("attempt", "int", "the try at that run"),
    Column("sampler", "string", "sampler"),
    Column("t_ns", "int", "machine's monotonic clock, as for requests"),
    Column("device", "string", "GPU UUID, or null for the host and the process tree"),
    Column("mem_free_gib", "float", "MemFree"),
    Column("mem_available_gib", "float", "MemAvailable"),
    Column("page_cache_gib", "float", "Cached"),
    Column("swap_used_gib", "float", "SwapTotal less SwapFree"),
    Column("cpu_busy_pct", "float", "busy time over all CPUs since the previous sample, 100 = all"),
    Column("core_busy_pct", "int_list", "busy time of each CPU since the previous sample, by number; null if offline"),
    Column("core_freq_mhz", "int_list", "frequency of each CPU as the kernel reports it, by number"),
    Column("context_switches", "int", "context switches since boot"),
    Column("page_faults", "int", "page faults since boot, minor and major"),
    Column("page_faults_major", "int", "major page faults since boot"),
    Column("swap_in_gib", "float", "read back from swap since boot"),
    Column("swap_out_gib", "float", "written to swap since boot"),
    Column("disk_read_gib", "float", "read from the machine's disks since boot"),
    Column("disk_written_gib", "float", "written to the machine's disks since boot"),
    Column("psi_cpu_some_s", "float", "pressure stall time since boot: some task waited for a CPU"),
    Column("psi_memory_some_s", "float", "pressure stall time since boot: some task waited for memory"),
    Column("psi_memory_full_s", "float", "pressure stall time since boot: all tasks that had work waited for memory"),
    Column("psi_io_some_s", "float", "pressure stall time since boot: some task waited for I/O"),
    Column("psi_io_full_s", "float", "pressure stall time since boot: all tasks that had work waited for I/O"),
    Column("spark_hwmon", "string", "JSON: values of the spark_hwmon driver by kind (with unit) and label"),
    Column("process_rss_gib", "float", "RSS summed over the engine's process tree"),
    Column("process_cpu_s", "float", "CPU seconds of the process tree since its start"),
    Column("process_threads", "int", "threads of the process tree"),
    Column("process_pss_gib", "float", "PSS summed over the process tree; sampled rarely because it is expensive"),
    Column("cgroup_memory_gib", "float", "memory charged to the container's cgroup; null outside Docker"),
    Column("cgroup_anon_gib", "float", "anonymous memory of the cgroup"),
    Column("cgroup_file_gib", "float", "page cache of the cgroup"),
    Column("cgroup_throttled_s", "float", "time throttled by the CPU quota"),
    Column("cgroup_oom_kills", "int", "OOM kills in the cgroup"),
    Column("gpu_util_pct", "float", "NVML GPU utilisation"),
    Column("gpu_mem_bandwidth_util_pct", "float", "NVML memory utilisation: share of time with memory reads or writes"),
    Column("gpu_temp_c", "float", "GPU temperature"),
    Column("gpu_power_w", "float", "GPU power"),
    Column("gpu_energy_j", "float", "NVML total energy counter; sampled rarely because it is expensive"),
    Column("gpu_sm_clock_mhz", "float", "SM clock"),
    Column("gpu_mem_clock_mhz", "float", "memory clock; null on GB10"),
    Column("gpu_throttle_reasons", "int", "NVML bit mask of clock event reasons"),
    Column("gpu_process_gib", "float", "GPU memory of the engine's process tree, seen from the host"),
    Column(
        "gpu_foreign_gib",
        "float",
        "GPU memory of all other compute processes; null where the driver lists none",
    ),
    Column("gpu_foreign_processes", "int", "number of these processes"),
    Column("gpu_used_gib", "float", "used GPU memory; null on GB10"),
    Column("gpu_ecc_corrected", "int", "corrected ECC errors since the driver was loaded; null on GB10"),
    Column("gpu_ecc_uncorrected", "int", "uncorrected ECC errors since the driver was loaded"),
    Column("gpu_xid_events", "int", "Xid errors since recording began"),
    Column("gpu_xid", "int", "code of the last Xid error"),
)

CHECK_COLUMNS: tuple[Column, ...] = (
    Column("run_id", "string", "the run it belongs to"),
    Column("attempt", "int", "the try at that run"),
    Column("check", "string", "name of the check"),
    Column("verdict", "string", "pass, warn or invalid"),
    Column("evidence", "string", "evidence with values"),
)


@dataclass(frozen=True)
class Request:
    """One request. Times in ns on the machine's monotonic clock; `token_ns` has one per token.

    `error_kind` of a request over HTTP: `status`, `connection`, `truncated`, `timeout`, `server`, `no_stream`,
    `usage_missing`, `usage_contradicts` or `interrupted`.
    """

    index: int
    warmup: bool
    input_tokens: int | None
    output_tokens: int | None
    submit_ns: int
    first_token_ns: int | None
    end_ns: int
    token_ns: tuple[int, ...] = ()
    error: str | None = None
    error_kind: str | None = None
    due_ns: int | None = None
    chunks: int | None = None


@dataclass(frozen=True)
class EngineFacts:
    """What an engine reports about itself and its model; None where it does not."""

    version: str | None = None
    model_path: str | None = None
    model_sha256: str | None = None
    model_architecture: str | None = None
    kv_cache_bytes: int | None = None
    threads: int | None = None
    load_s: float | None = None
    lifetime_s: float | None = None
    reported_peak_bytes: int | None = None
    reported: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """An engine's parsed output. `simulated`: a simulated engine made it."""

    requests: tuple[Request, ...]
    facts: EngineFacts
    simulated: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """One check's verdict on one run, with its evidence."""

    check: str
    verdict: Literal["pass", "warn", "invalid"]
    evidence: str


@dataclass(frozen=True)
class Outcome:
    """Everything that will be stored of a run.

    `row` holds the columns of `runs` (missing ones are null), `samples` rows of `samples` without run_id and attempt.
    `refused` are earlier runs that this one invalidates, with the reason.
    """

    row: Mapping[str, Any]
    requests: tuple[Request, ...] = ()
    samples: Sequence[Mapping[str, Any]] = ()
    checks: tuple[Verdict, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """Status of the row; only `ok` counts."""
        status: Status = self.row["status"]
        return status
