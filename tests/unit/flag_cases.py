"""The test case of every Docker option: `CASES` has one for each entry of `sparkray/config/flags.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparkray.units import GIB, MIB


@dataclass(frozen=True)
class FlagCase:
    """One value of an option, and what must become of it.

    `words` of `docker run`, `sdk` argument, name in the `host_config` of the API, `bad` values that are refused. A state in
    which the option `acts`, one in which it is `denied`, and what is `said` of it then; more of these are in `test_effect`.
    """

    value: Any
    words: tuple[str, ...]
    sdk: Any
    host_config: str
    bad: tuple[Any, ...] = ()
    acts: Mapping[str, Any] | None = None
    denied: Mapping[str, Any] | None = None
    said: str = ""


def _limit(name: str, value: int) -> list[dict[str, Any]]:
    return [{"Name": name, "Soft": value, "Hard": value}]


_EVERY_GPU = [{"Driver": "", "Capabilities": [["gpu"]], "Options": {}, "Count": -1}]
CASES = {
    "gpus": FlagCase("all", ("--gpus=all",), _EVERY_GPU, "DeviceRequests"),
    "ipc": FlagCase("host", ("--ipc=host",), "host", "IpcMode", ("hots", "")),
    "shm_size": FlagCase("32g", ("--shm-size=32g",), 32 * GIB, "ShmSize", ("0", "-1", "5q", "1.5.2g")),
    "network": FlagCase("none", ("--network=none",), "none", "NetworkMode", ("nat",)),
    "pid": FlagCase("host", ("--pid=host",), "host", "PidMode", ("private",)),
    "uts": FlagCase("host", ("--uts=host",), "host", "UTSMode", ("private",)),
    "cgroupns": FlagCase("private", ("--cgroupns=private",), "private", "CgroupnsMode", ("none",)),
    "cgroup_parent": FlagCase("/bench", ("--cgroup-parent=/bench",), "/bench", "CgroupParent"),
    "cpuset_cpus": FlagCase("0,2-3", ("--cpuset-cpus=0,2-3",), "0,2-3", "CpusetCpus", ("", "0-", "a", "0;1", "-1")),
    "cpuset_mems": FlagCase(
        "0-1",
        ("--cpuset-mems=0-1",),
        "0-1",
        "CpusetMems",
        ("", "a", "0,"),
        acts={"kernel": {"status/Mems_allowed_list": "0-1"}},
        denied={"kernel": {"status/Mems_allowed_list": "0"}},
        said="asked --cpuset-mems=0-1, got memory nodes 0",
    ),
    "cpus": FlagCase(1.5, ("--cpus=1.5",), 1_500_000_000, "NanoCpus", (0, -1, 0.0)),
    "cpu_shares": FlagCase(512, ("--cpu-shares=512",), 512, "CpuShares", (0, -5)),
    "memory": FlagCase("2048m", ("--memory=2g",), 2 * GIB, "Memory", ("5m", "0", "-1", "lots")),
    "memory_swap": FlagCase("-1", ("--memory-swap=-1",), -1, "MemorySwap", ("-2", "x")),
    "pids_limit": FlagCase(
        4096,
        ("--pids-limit=4096",),
        4096,
        "PidsLimit",
        (0, -2),
        acts={"cgroup_limits": {"pids": 4096}},
        denied={"cgroup_limits": {"pids": -1}},
        said="asked --pids-limit=4096, got -1 tasks",
    ),
    "ulimit_memlock": FlagCase(-1, ("--ulimit=memlock=-1",), _limit("memlock", -1), "Ulimits", (-2,)),
    "ulimit_stack": FlagCase(64 * MIB, ("--ulimit=stack=67108864",), _limit("stack", 64 * MIB), "Ulimits", (-2,)),
    "ulimit_nofile": FlagCase(1024, ("--ulimit=nofile=1024",), _limit("nofile", 1024), "Ulimits", (-2,)),
    "oom_score_adj": FlagCase(-500, ("--oom-score-adj=-500",), -500, "OomScoreAdj", (-1001, 1001)),
    "privileged": FlagCase(True, ("--privileged",), True, "Privileged"),
    "cap_add": FlagCase(
        ("sys_nice", "CAP_IPC_LOCK", "SYS_NICE"),
        ("--cap-add=CAP_IPC_LOCK", "--cap-add=CAP_SYS_NICE"),
        ["CAP_IPC_LOCK", "CAP_SYS_NICE"],
        "CapAdd",
    ),
    "cap_drop": FlagCase(("ALL",), ("--cap-drop=ALL",), ["ALL"], "CapDrop"),
    "security_opt": FlagCase(
        ("seccomp=unconfined", "no-new-privileges"),
        ("--security-opt=seccomp=unconfined", "--security-opt=no-new-privileges"),
        ["seccomp=unconfined", "no-new-privileges"],
        "SecurityOpt",
        (("seccomp=/p.json",), ("selinux=off",)),
    ),
    "init": FlagCase(True, ("--init",), True, "Init"),
    "read_only": FlagCase(True, ("--read-only",), True, "ReadonlyRootfs"),
    "log_driver": FlagCase("none", ("--log-driver=none",), {"Type": "none", "Config": {}}, "LogConfig", ("elsewhere",)),
    "runtime": FlagCase("runc", ("--runtime=runc",), "runc", "Runtime"),
    "device": FlagCase(
        ("/dev/null", "/dev/zero"),
        ("--device=/dev/null", "--device=/dev/zero"),
        ["/dev/null:/dev/null:rwm", "/dev/zero:/dev/zero:rwm"],
        "Devices",
        (("/etc/passwd",), ("/dev/null:/dev/zero",), ("nvidia.com/gpu",)),
    ),
    "env": FlagCase(
        ("LOG=5", "MODE=a=b"),
        ("-e=LOG=5", "-e=MODE=a=b"),
        {"LOG": "5", "MODE": "a=b"},
        "Env",
        (("LOG",), ("5=LOG",), ("=5",)),
    ),
    "other": FlagCase(
        ("--group-add=10", "--label=a=b c"),
        ("--group-add=10", "--label=a=b c"),
        ["--group-add=10", "--label=a=b c"],
        "",  # the SDK does not get it
        (("group-add=10",), ("-l=a",)),
    ),
}
