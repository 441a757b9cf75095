"""Finding and reading a container's cgroup in trees of version 1, version 2 and both together."""

from pathlib import Path

import pytest

from sparkray.runtimes.linux import cgroup as runtime_cgroup
from sparkray.telemetry import Target, cgroup

ID = "4f5d" * 16
V2_MOUNTS = (
    "22 1 0:21 / /proc rw - proc proc rw\n"
    "31 24 0:27 / {point} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
)
V1_MOUNTS = (
    "31 23 0:28 / {point} rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / {point}/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / {point}/memory rw - cgroup cgroup rw,memory\n"
    "40 31 0:37 / {point}/systemd rw - cgroup systemd rw,name=systemd\n"
)
HYBRID_MOUNTS = V1_MOUNTS + "41 31 0:38 / {point}/unified rw,relatime - cgroup2 cgroup2 rw\n"
V1_MEMBER = f"9:name=systemd:/docker/{ID}\n4:memory:/docker/{ID}\n1:cpu,cpuacct:/docker/{ID}\n"
HYBRID_MEMBER = V1_MEMBER + "0::/\n"
V2_MEMBER = f"0::/system.slice/docker-{ID}.scope\n"

V2_STAT = "anon 1073741824\nfile 2147483648\nkernel 4096\nfile_mapped 12\ninactive_anon 5\n"
V1_STAT = "cache 1\nrss 2\nmapped_file 3\ntotal_cache 2147483648\ntotal_rss 1073741824\ntotal_rss_huge 0\n"
V2_EVENTS = "low 0\nhigh 3\nmax 9\noom 4\noom_kill 2\noom_group_kill 1\n"
V1_EVENTS = "oom_kill_disable 0\nunder_oom 1\noom_kill 2\n"


def put(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def process(proc: Path, member: str, mounts: str, point: Path) -> None:
    put(proc / "42", cgroup=member)
    put(proc / "self", mountinfo=mounts.format(point=point))


def v1(point: Path) -> None:
    folder = point / "memory" / "docker" / ID
    put(folder, memory__usage_in_bytes="3221225472\n", memory__stat=V1_STAT, memory__oom_control=V1_EVENTS)
    put(point / "cpu,cpuacct" / "docker" / ID, cpu__stat="nr_periods 9\nnr_throttled 3\nthrottled_time 1500000000\n")


def v2(point: Path) -> None:
    scope = point / "system.slice" / f"docker-{ID}.scope"
    put(scope, memory__current="3221225472\n", memory__stat=V2_STAT, memory__events=V2_EVENTS)
    put(scope, cpu__stat="usage_usec 77\nnr_throttled 3\nthrottled_usec 1500000\n")


EXPECTED = {
    "cgroup_memory_gib": 3.0,
    "cgroup_anon_gib": 1.0,
    "cgroup_file_gib": 2.0,
    "cgroup_oom_kills": 2,
    "cgroup_throttled_s": 1.5,
}


@pytest.mark.parametrize(
    ("make", "member", "mounts"),
    [(v1, V1_MEMBER, V1_MOUNTS), (v2, V2_MEMBER, V2_MOUNTS), (v1, HYBRID_MEMBER, HYBRID_MOUNTS)],
    ids=["v1", "v2-systemd", "hybrid"],
)
def test_a_container_is_read(tmp_path: Path, make, member: str, mounts: str) -> None:
    point = tmp_path / "a folder"
    make(point)
    process(tmp_path / "proc", member, mounts.replace("{point}", str(point).replace(" ", "\\040")), point)
    with cgroup.Sampler(proc=tmp_path / "proc") as sampler:
        assert sampler.sample() == []
        sampler.attach(Target(42, in_container=True))
        assert sampler.unavailable is None
        assert sampler.sample() == [EXPECTED]


def test_a_native_process_has_no_cgroup_columns(tmp_path: Path) -> None:
    v2(tmp_path)
    process(tmp_path / "proc", V2_MEMBER, V2_MOUNTS, tmp_path)
    with cgroup.Sampler(proc=tmp_path / "proc") as sampler:
        sampler.attach(Target(42))
        assert sampler.sample() == []
        assert sampler.unavailable is None


def test_a_process_that_has_ended_is_said(tmp_path: Path) -> None:
    put(tmp_path / "self", mountinfo="")
    with cgroup.Sampler(proc=tmp_path) as sampler:
        sampler.attach(Target(42, in_container=True))
        assert sampler.sample() == []
        assert "42 had ended" in str(sampler.unavailable)


@pytest.mark.parametrize("mounts", ["", V2_MOUNTS], ids=["not mounted", "no memory controller there"])
def test_a_cgroup_that_cannot_be_seen_is_said(tmp_path: Path, mounts: str) -> None:
    process(tmp_path / "proc", V2_MEMBER, mounts, tmp_path)
    with cgroup.Sampler(proc=tmp_path / "proc") as sampler:
        sampler.attach(Target(42, in_container=True))
        assert sampler.sample() == []
        assert "cannot be seen" in str(sampler.unavailable)
        v2(tmp_path)
        process(tmp_path / "proc", V2_MEMBER, V2_MOUNTS, tmp_path)
        sampler.attach(Target(42, in_container=True))
        assert sampler.unavailable is None
        assert len(sampler.sample()) == 1


def test_without_the_cpu_controller_throttling_is_none(tmp_path: Path) -> None:
    v2(tmp_path)
    scope = tmp_path / "system.slice" / f"docker-{ID}.scope"
    put(scope, cpu__stat="usage_usec 77\nuser_usec 70\n")
    process(tmp_path / "proc", V2_MEMBER, V2_MOUNTS, tmp_path)
    with cgroup.Sampler(proc=tmp_path / "proc") as sampler:
        sampler.attach(Target(42, in_container=True))
        assert sampler.sample() == [{**EXPECTED, "cgroup_throttled_s": None}]


def test_a_kernel_that_does_not_count_kills_is_none_and_none_so_far_is_a_zero(tmp_path: Path) -> None:
    v1(tmp_path)
    process(tmp_path / "proc", V1_MEMBER, V1_MOUNTS, tmp_path)
    control = tmp_path / "memory" / "docker" / ID / "memory.oom_control"
    with cgroup.Sampler(proc=tmp_path / "proc") as sampler:
        sampler.attach(Target(42, in_container=True))
        for text, kills in (("oom_kill_disable 0\nunder_oom 0\n", None), ("oom_kill 0\n", 0), ("oom_kill 1\n", 1)):
            control.write_text(text)
            assert sampler.sample() == [{**EXPECTED, "cgroup_oom_kills": kills}]
        control.unlink()
        sampler.attach(Target(42, in_container=True))
        assert sampler.sample() == [{**EXPECTED, "cgroup_oom_kills": None}]


def test_what_was_seen_is_read_by_who_saw_it_even_after_another_was_attached(tmp_path: Path) -> None:
    v2(tmp_path / "two")
    process(tmp_path / "proc", V2_MEMBER, V2_MOUNTS, tmp_path / "two")
    with cgroup.Sampler(proc=tmp_path / "proc") as sampler:
        sampler.attach(Target(42, in_container=True))
        captured = sampler.capture()
        assert captured is not None
        v1(tmp_path / "one")
        process(tmp_path / "proc", V1_MEMBER, V1_MOUNTS, tmp_path / "one")
        sampler.attach(Target(42, in_container=True))
        assert sampler.rows(captured) == [EXPECTED]
        assert sampler.sample() == [EXPECTED]


def mount(version, controllers: set[str], root: str, point: str) -> runtime_cgroup.Mount:
    return runtime_cgroup.Mount(version, frozenset(controllers), root, point)


def test_a_mount_that_shows_a_part_of_the_hierarchy() -> None:
    mounts = [mount(2, set(), "/docker/outer", "/sys/fs/cgroup")]
    inside = runtime_cgroup.locate("memory", "0::/docker/outer/inner\n", mounts)
    assert inside == runtime_cgroup.Folder(2, Path("/sys/fs/cgroup/inner"))
    assert runtime_cgroup.locate("memory", "0::/docker/outer\n", mounts) == runtime_cgroup.Folder(
        2, Path("/sys/fs/cgroup")
    )
    assert runtime_cgroup.locate("memory", "0::/docker/outermost\n", mounts) is None
    assert runtime_cgroup.locate("memory", "0::/../sibling\n", mounts) is None


def test_version_1_wins_where_it_has_the_controller() -> None:
    mounts = [mount(2, set(), "/", "/u"), mount(1, {"rw", "memory"}, "/", "/m"), mount(1, {"cpuacct"}, "/", "/a")]
    member = "4:memory:/a\n1:cpuacct:/b\n0::/c\n"
    assert runtime_cgroup.locate("memory", member, mounts) == runtime_cgroup.Folder(1, Path("/m/a"))
    assert runtime_cgroup.locate("cpu", member, mounts) == runtime_cgroup.Folder(2, Path("/u/c"))


def test_a_path_with_colons_is_kept_whole() -> None:
    assert list(runtime_cgroup.parse_membership("0::/x:y:z\n\nnonsense\n")) == [(frozenset(), "/x:y:z")]


def test_lines_of_mountinfo_that_are_no_cgroups_are_passed_over() -> None:
    text = "nonsense\n22 1 0:21 / /proc rw - proc proc rw\n31 24 0:27 / /c rw shared:9 master:2 - cgroup2 x rw\n"
    assert runtime_cgroup.parse_mounts(text) == [mount(2, set(), "/", "/c")]
