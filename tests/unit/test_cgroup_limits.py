"""What cgroups allow a process, from trees of version 1, version 2 and of a group inside groups."""

from pathlib import Path
from typing import Any

import pytest

from sparkray.runtimes.linux.cgroup import limits, parse_mounts

V1_UNLIMITED = {4: "9223372036854771712", 64: "9223372036854710272"}
"""By size of a page, KiB."""
V1_CONTROLLERS = ("cpu,cpuacct", "cpuset", "memory", "pids", "hugetlb")


def put(folder: Path, **files: str) -> None:
    """Files of a group; `__` stands for a dot. Every group has a list of its processes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.procs").write_text("")
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def v2(root: Path, member: str = "/system.slice/docker-1.scope") -> dict[str, Any]:
    mounts = parse_mounts(f"31 24 0:27 / {root} rw,nosuid shared:9 - cgroup2 cgroup2 rw\n")
    return limits(f"0::{member}\n", mounts)


def v1(root: Path, member: str = "/docker/1") -> dict[str, Any]:
    text = "".join(
        f"{number} 31 0:{number} / {root}/{names} rw - cgroup cgroup rw,{names}\n"
        for number, names in enumerate(V1_CONTROLLERS, 32)
    )
    lines = "".join(f"{number}:{names}:{member}\n" for number, names in enumerate(V1_CONTROLLERS))
    return limits(lines, parse_mounts(text))


@pytest.fixture
def tree2(tmp_path: Path) -> Path:
    root = tmp_path / "unified"
    put(root, cpuset__cpus__effective="0-19")
    put(root / "system.slice", memory__max="max", memory__swap__max="max", cpu__max="max 100000", pids__max="max")
    put(
        root / "system.slice" / "docker-1.scope",
        memory__max="max",
        memory__swap__max="max",
        cpu__max="max 100000",
        cpu__weight="100",
        cpuset__cpus__effective="0-19",
        pids__max="38000",
        hugetlb__2MB__max="max",
        hugetlb__2MB__rsvd__max="5",
    )
    return root


@pytest.fixture
def tree1(tmp_path: Path) -> Path:
    root = tmp_path / "cgroup"
    for place in ("", "docker", "docker/1"):
        unlimited = V1_UNLIMITED[4]
        put(root / "memory" / place, memory__limit_in_bytes=unlimited, memory__memsw__limit_in_bytes=unlimited)
        put(root / "cpu,cpuacct" / place, cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000", cpu__shares="1024")
        put(root / "cpuset" / place, cpuset__effective_cpus="0-1", cpuset__cpus="")
        put(root / "pids" / place, **({"pids__max": "max"} if place else {}))
        put(root / "hugetlb" / place, hugetlb__2MB__limit_in_bytes="9223372036852678656")
    return root


def test_without_limits_version_2_says_so(tree2: Path) -> None:
    assert v2(tree2) == {
        "memory_bytes": -1,
        "memory_swap_bytes": -1,
        "cpus": -1,
        "cpu_weight": 100,
        "cpuset": "0-19",
        "pids": 38000,
        "hugetlb_bytes": {"2MB": -1},
    }


def test_without_limits_version_1_says_so(tree1: Path) -> None:
    assert v1(tree1) == {
        "memory_bytes": -1,
        "memory_swap_bytes": -1,
        "cpus": -1,
        "cpu_shares": 1024,
        "cpuset": "0-1",
        "pids": -1,
        "hugetlb_bytes": {"2MB": -1},
    }


def test_limits_of_version_2_are_in_dockers_terms(tree2: Path) -> None:
    scope = tree2 / "system.slice" / "docker-1.scope"
    put(scope, memory__max="67108864", memory__swap__max="67108864", cpu__max="130000 100000", cpu__weight="20")
    put(scope, cpuset__cpus__effective="5-9,15-19", hugetlb__2MB__max="4194304")
    found = v2(tree2)
    assert (found["memory_bytes"], found["memory_swap_bytes"]) == (67108864, 134217728)
    assert (found["cpus"], found["cpu_weight"], found["cpuset"]) == (1.3, 20, "5-9,15-19")
    assert found["hugetlb_bytes"] == {"2MB": 4194304}


def test_limits_of_version_1_are_in_dockers_terms(tree1: Path) -> None:
    put(tree1 / "memory" / "docker" / "1", memory__limit_in_bytes="67108864", memory__memsw__limit_in_bytes="134217728")
    put(tree1 / "cpu,cpuacct" / "docker" / "1", cpu__cfs_quota_us="50000", cpu__shares="512")
    put(tree1 / "cpuset" / "docker" / "1", cpuset__effective_cpus="0")
    found = v1(tree1)
    assert (found["memory_bytes"], found["memory_swap_bytes"]) == (67108864, 134217728)
    assert (found["cpus"], found["cpu_shares"], found["cpuset"]) == (0.5, 512, "0")


def test_a_group_above_may_be_tighter(tree2: Path, tree1: Path) -> None:
    put(tree2 / "system.slice", memory__max="1048576", cpu__max="50000 100000", pids__max="7")
    found = v2(tree2)
    assert (found["memory_bytes"], found["cpus"], found["pids"]) == (1048576, 0.5, 7)
    put(tree1 / "memory" / "docker", memory__limit_in_bytes="1048576")
    assert v1(tree1)["memory_bytes"] == 1048576


def test_a_group_without_a_controller_has_what_is_above_it(tree2: Path) -> None:
    put(tree2 / "user.slice", memory__max="4096", cpuset__cpus__effective="0-3")
    put(tree2 / "user.slice" / "session.scope")
    assert v2(tree2, "/user.slice/session.scope") == {
        "memory_bytes": 4096,
        "cpus": -1,
        "cpuset": "0-3",
        "pids": -1,
    }


def test_the_root_group_has_no_limits_and_no_files(tree2: Path) -> None:
    assert v2(tree2, "/") == {"memory_bytes": -1, "cpus": -1, "cpuset": "0-19", "pids": -1}


def test_where_swap_is_not_accounted_nothing_is_said_of_it(tree1: Path, tree2: Path) -> None:
    for path in [*tree1.rglob("memory.memsw.limit_in_bytes"), *tree2.rglob("memory.swap.max")]:
        path.unlink()
    assert "memory_swap_bytes" not in v1(tree1)
    assert "memory_swap_bytes" not in v2(tree2)


def test_unlimited_swap_beside_limited_memory(tree2: Path) -> None:
    put(tree2 / "system.slice" / "docker-1.scope", memory__max="67108864")
    found = v2(tree2)
    assert (found["memory_bytes"], found["memory_swap_bytes"]) == (67108864, -1)


@pytest.mark.parametrize("page", V1_UNLIMITED)
def test_version_1_writes_unlimited_as_whole_pages_of_any_size(tree1: Path, page: int) -> None:
    for path in tree1.rglob("memory.limit_in_bytes"):
        path.write_text(V1_UNLIMITED[page])
    assert v1(tree1)["memory_bytes"] == -1


def test_a_group_that_cannot_be_seen_or_read_tells_nothing(tree2: Path) -> None:
    assert v2(tree2, "/elsewhere") == {}
    assert v2(tree2, "/../outside") == {}
    assert limits("0::/\n", []) == {}
    put(tree2 / "system.slice" / "docker-1.scope", memory__max="much", cpu__max="1 0")
    assert not {"memory_bytes", "cpus"} & set(v2(tree2))


def test_this_process_is_allowed_the_cpus_that_the_kernel_lets_it_have() -> None:
    found = limits(Path("/proc/self/cgroup").read_text(), parse_mounts(Path("/proc/self/mountinfo").read_text()))
    assert found.get("memory_bytes", -1) == -1 or found["memory_bytes"] > 1 << 20
    assert found.get("cpus", -1) == -1 or found["cpus"] > 0
