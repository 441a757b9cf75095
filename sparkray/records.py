"""The rows that are the record: which columns `runs`, `requests`, `samples` have, with type, unit and meaning. Pure.

Every column that holds a quantity ends in its unit; no data is null, never 0. The metric columns of `runs` are declared
in `metrics`, which knows how each is computed; the two together are the data dictionary (`docs/reference/data.md`).

Schema versions: the first number changes when a column changes its meaning or goes away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sparkray.config.docker_columns import DOCKER_COLUMNS
from sparkray.schema import Column

SCHEMA_VERSION = "1.3"

Status = Literal["ok", "failed", "timeout", "oom", "unready", "invalid", "interrupted"]
STATUSES: tuple[Status, ...] = ("ok", "failed", "timeout", "oom", "unready", "invalid", "interrupted")


RUN_COLUMNS: tuple[Column, ...] = (
    Column("run_id", "string", "content hash of what the run is; the same in every plan that holds it"),
    Column("attempt", "int", "1 for the first try at this run; failed tries are kept"),
    Column("experiment", "string", "name of the experiment"),
    Column(
        "experiment_sha256", "string", "hash of the experiment as it was run, options applied and every check's policy"
    ),
    Column("site", "string", "name of the site"),
    Column("block", "int", "the block, counted from 0 within a model; comparisons are made inside blocks"),
    Column("position", "int", "place of the run in the plan, from 0"),
    Column("host", "string", "machine that ran it"),
    Column("workload", "string", "kind of workload"),
    Column("model", "string", "model card's name"),
    Column("environment", "string", "native, host, container_baseline, container_optimized"),
    Column("replicate", "int", "1 to N within model, level and environment"),
    Column("level", "string", "level of the load beside the environment; empty where there is but one"),
    Column("concurrency", "int", "requests that are in flight at once, as it was asked for"),
    Column("status", "string", "ok, failed, timeout, oom, unready, invalid, interrupted; ok alone counts"),
    Column("reason", "string", "why it is not ok, in words"),
    Column("simulated", "bool", "true when a double stood in for the engine"),
    Column("started_at", "timestamp", "when the engine was started, UTC"),
    Column("ended_at", "timestamp", "when the engine had ended, UTC"),
    Column("duration_s", "float", "from just before the environment is made to just after it is gone"),
    Column("engine_lifetime_s", "float", "from the engine's own start to its own end, as it says itself"),
    Column("dead_time_s", "float", "duration less the engine's lifetime: what the environment costs around it"),
    Column("exit_code", "int", "exit status of the engine; negative for a signal"),
    Column("oom_kills", "int", "processes of the whole machine that the kernel killed for memory during the run"),
    Column(
        "container_oom_killed", "bool", "whether Docker says that a process of it was killed for memory; null elsewhere"
    ),
    Column("engine", "string", "engine's name"),
    Column("engine_version", "string", "version as the engine reports it"),
    Column("engine_command", "string", "argv as JSON, as seen inside the environment"),
    Column("model_path", "string", "model file or folder as the engine reports it"),
    Column("model_sha256", "string", "identity of the weights as computed inside the environment"),
    Column("checkpoint_sha256", "string", "hash of the checkpoint's config and weight index on the host"),
    Column(
        "weights_digest", "string", "hash of every file of the checkpoint, as it lay before the run; null for a file"
    ),
    Column("model_architecture", "string", "architecture as the engine reports it"),
    Column("dataset_sha256", "string", "hash of the prompts that were given"),
    Column("image", "string", "image reference that was resolved; null on the host arm"),
    Column("image_digest", "string", "identity of the image; null on the host arm"),
    Column("rootfs_digest", "string", "hash of the files that this arm runs, computed from this arm's own files"),
    Column("docker_command", "string", "the docker run line that makes the same container; null outside Docker"),
    *DOCKER_COLUMNS,
    Column("start_state", "string", "JSON: nice, oom_score_adj, umask, rlimits and affinity that were declared"),
    Column("effective_state", "string", "JSON: what the engine's process really got, read from outside"),
    Column("deviations", "string", "JSON list: where this run departs from what was asked, in words"),
    Column("machine", "string", "JSON: fingerprint of hardware and software"),
    Column("sparkray_version", "string", "version of sparkray"),
    Column("seed", "int", "seed of the experiment"),
    Column("log_sha256", "string", "hash of the engine's kept output"),
    Column("requests_planned", "int", "requests asked for, warm-up apart"),
    Column("requests_done", "int", "requests completed, warm-up apart"),
    Column(
        "pace_drift_ratio",
        "float",
        "median ms per token of the last third of the requests over the first third's; null with fewer than 8 that tell",
    ),
    Column("engine_load_s", "float", "time the engine took to load the model, by its own clock"),
    Column("engine_threads", "int", "threads that the engine computes with"),
    Column("engine_devices", "int", "GPUs that the engine shards the model over, as it says itself"),
    Column("gate_wait_s", "float", "spent before the start on cooling down and on the page cache"),
    Column(
        "gpu_temp_gate_c", "float", "temperature of the hottest GPU as the cooldown let go, before the control probe"
    ),
    Column("gpu_temp_reference_c", "float", "where this experiment's runs start, as known then; null for the first"),
    Column("page_cache_dropped", "bool", "whether the page cache was emptied before; null when that was not asked for"),
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
    Column("wall_clock_step_s", "float", "how far the wall clock moved during the run beyond the monotonic clock"),
    Column("observer_cpu_s", "float", "CPU seconds that sparkray's own process on the machine used during the run"),
    Column("observer_memory_gib", "float", "RSS of sparkray's own process on the machine as the run ended"),
    Column("sampler_cpu_s", "float", "CPU seconds of the samplers and of writing what they saw, from first to last"),
    Column("ray_cpu_s", "float", "CPU seconds of Ray's own processes on the machine during the run, the runner apart"),
    Column("ray_memory_gib", "float", "RSS of Ray's own processes on the machine as the run ended, the runner apart"),
    Column(
        "power_valid",
        "bool",
        "whether integrated power and the energy counter agree; null where one of them is missing",
    ),
)

REQUEST_COLUMNS: tuple[Column, ...] = (
    Column("run_id", "string", "the run it belongs to"),
    Column("attempt", "int", "the try at that run"),
    Column("request", "int", "index in the order of submission, warm-up included"),
    Column("warmup", "bool", "true for warm-up requests, which no metric counts"),
    Column("input_tokens", "int", "prompt tokens as the engine counted them"),
    Column("output_tokens", "int", "generated tokens as the engine counted them"),
    Column("submit_ns", "int", "submission, monotonic clock of the machine"),
    Column("first_token_ns", "int", "first token; null when the engine does not stream"),
    Column("end_ns", "int", "end of the request"),
    Column("token_ns", "int_list", "time of every token, where the engine tells it"),
    Column("error", "string", "why the request failed; null when it did not"),
)

SAMPLE_COLUMNS: tuple[Column, ...] = (
    Column("run_id", "string", "the run it belongs to"),
    Column("attempt", "int", "the try at that run"),
    Column("sampler", "string", "which sampler took it"),
    Column("t_ns", "int", "monotonic clock of the machine, the same clock as the requests"),
    Column("device", "string", "GPU UUID, or null for the host and the process tree"),
    Column("mem_free_gib", "float", "MemFree"),
    Column("mem_available_gib", "float", "MemAvailable"),
    Column("page_cache_gib", "float", "Cached"),
    Column("swap_used_gib", "float", "SwapTotal less SwapFree"),
    Column("cpu_busy_pct", "float", "busy time over all CPUs since the sample before, 100 = all of them"),
    Column("core_busy_pct", "int_list", "busy time of each CPU since the sample before, by number; null if offline"),
    Column("core_freq_mhz", "int_list", "frequency of each CPU as the kernel tells it, by CPU number"),
    Column("context_switches", "int", "context switches since boot"),
    Column("page_faults", "int", "page faults since boot, minor and major"),
    Column("page_faults_major", "int", "page faults since boot that had to wait for a disk"),
    Column("swap_in_gib", "float", "read back from swap since boot"),
    Column("swap_out_gib", "float", "written to swap since boot"),
    Column("disk_read_gib", "float", "read from the machine's disks since boot"),
    Column("disk_written_gib", "float", "written to the machine's disks since boot"),
    Column("psi_cpu_some_s", "float", "pressure stall time since boot: some task waited for a CPU"),
    Column("psi_memory_some_s", "float", "pressure stall time since boot: some task waited for memory"),
    Column("psi_memory_full_s", "float", "pressure stall time since boot: all tasks that had work waited for memory"),
    Column("psi_io_some_s", "float", "pressure stall time since boot: some task waited for I/O"),
    Column("psi_io_full_s", "float", "pressure stall time since boot: all tasks that had work waited for I/O"),
    Column("spark_hwmon", "string", "JSON: what the spark_hwmon driver tells, by kind (with its unit) and label"),
    Column("process_rss_gib", "float", "RSS summed over the engine's process tree"),
    Column("process_cpu_s", "float", "CPU seconds of the process tree since its start"),
    Column("process_threads", "int", "threads of the process tree"),
    Column("process_pss_gib", "float", "PSS summed over the process tree; seldom, it is dear"),
    Column("cgroup_memory_gib", "float", "memory charged to the container's cgroup; null outside Docker"),
    Column("cgroup_anon_gib", "float", "anonymous part of it"),
    Column("cgroup_file_gib", "float", "page-cache part of it"),
    Column("cgroup_throttled_s", "float", "time the cgroup was throttled by its CPU quota"),
    Column("cgroup_oom_kills", "int", "processes of the cgroup that the kernel has killed for memory"),
    Column("gpu_util_pct", "float", "NVML GPU utilisation"),
    Column(
        "gpu_mem_bandwidth_util_pct", "float", "NVML memory utilisation: share of time that memory was read or written"
    ),
    Column("gpu_temp_c", "float", "GPU temperature"),
    Column("gpu_power_w", "float", "GPU power"),
    Column("gpu_energy_j", "float", "NVML total energy counter; seldom, it is dear"),
    Column("gpu_sm_clock_mhz", "float", "SM clock"),
    Column("gpu_mem_clock_mhz", "float", "memory clock; null on GB10"),
    Column("gpu_throttle_reasons", "int", "NVML bit mask of clock event reasons"),
    Column("gpu_process_gib", "float", "GPU memory of the engine's process tree, seen from the host"),
    Column(
        "gpu_foreign_gib",
        "float",
        "GPU memory of all other processes that compute on it; null where none can be listed",
    ),
    Column("gpu_foreign_processes", "int", "how many these are"),
    Column("gpu_used_gib", "float", "used GPU memory; null on GB10"),
    Column("gpu_ecc_corrected", "int", "ECC errors that were corrected, since the driver was loaded; null on GB10"),
    Column("gpu_ecc_uncorrected", "int", "ECC errors that could not be corrected, since the driver was loaded"),
    Column("gpu_xid_events", "int", "Xid errors of the GPU since the recording began"),
    Column("gpu_xid", "int", "code of the last of them"),
)

CHECK_COLUMNS: tuple[Column, ...] = (
    Column("run_id", "string", "the run it belongs to"),
    Column("attempt", "int", "the try at that run"),
    Column("check", "string", "name of the check"),
    Column("verdict", "string", "pass, warn or invalid"),
    Column("evidence", "string", "what was seen, in words with values"),
)


@dataclass(frozen=True)
class Request:
    """One request as the engine saw it. Times in ns on the machine's monotonic clock; `token_ns` has one per token."""

    index: int
    warmup: bool
    input_tokens: int
    output_tokens: int
    submit_ns: int
    first_token_ns: int | None
    end_ns: int
    token_ns: tuple[int, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class EngineFacts:
    """What an engine says of itself and of what it loaded. What it does not say is None."""

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
    """What an engine left behind, read into values. `simulated` when a double made it."""

    requests: tuple[Request, ...]
    facts: EngineFacts
    simulated: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What one check says of one run, with what it saw."""

    check: str
    verdict: Literal["pass", "warn", "invalid"]
    evidence: str


@dataclass(frozen=True)
class Outcome:
    """What a run left behind: everything that will be stored.

    `row` holds the columns of `runs` (missing ones are null), `samples` rows of `samples` without run_id and attempt.
    `refused` are earlier runs that count no more, with why, now that this one is known.
    """

    row: Mapping[str, Any]
    requests: tuple[Request, ...] = ()
    samples: Sequence[Mapping[str, Any]] = ()
    checks: tuple[Verdict, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """`ok` is the only one that counts."""
        status: Status = self.row["status"]
        return status
