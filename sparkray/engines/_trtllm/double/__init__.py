"""A simulated `trtllm-bench`, for machines without a GPU and for tests. Standard library alone.

It takes the options that the chosen version takes and refuses the others as click does, and leaves reports, request
files, iteration logs and log lines as that version writes them, from a simple decode model: bytes read per step over
bandwidth. Time is simulated: times in the files are those of the simulated run, which starts when the tool does; it
sleeps for a fraction of a second. Beside every report it leaves `sparkray-double.json`, which the real
tool never does: rows made from it are marked as simulated.

It asks NVML as the real tool does, through the `pynvml` that it finds: one of its own that answers as a GB10's. So it
dies where the real tool dies (1.2 and 1.3, while they report) unless sparkray's NVML shim wraps that module.

It lives in images that hold nothing of sparkray, so nothing here imports sparkray. Settings are environment variables:

===============================  =======================================================================================
SPARKRAY_DOUBLE_VERSION          1.0, 1.1, 1.2 or 1.3; else the file VERSION beside the package, else 1.2
SPARKRAY_DOUBLE_FAULT            one of `faults` in `versions.json`
SPARKRAY_DOUBLE_BANDWIDTH_GB_S   memory bandwidth, default 273
SPARKRAY_DOUBLE_MEMORY_GIB       memory of the machine, default 119.64
SPARKRAY_DOUBLE_TIME_SCALE       seconds slept per simulated second; unset sleeps 0.3 to 1 s
SPARKRAY_DOUBLE_SEED             seed of the noise (about 0.3 % a run, 1 % a request); unset takes another each run
===============================  =======================================================================================
"""
