"""Which CPUs are fast: by what they are, never by their numbers."""

import pytest
from gb10_tree import CAPACITIES, CPUINFO, spark_tree

from sparkray.config.cpu_list import cpu_list, cpu_numbers
from sparkray.machine.cores import capacities_of, parts_of, performance_cores

X86 = "".join(f"processor\t: {cpu}\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\n\n" for cpu in range(4))


def test_on_gb10_they_are_the_x925() -> None:
    assert cpu_list(performance_cores(CPUINFO, CAPACITIES)) == "5-9,15-19"
    assert cpu_list(performance_cores(CPUINFO, {})) == "5-9,15-19"


def test_they_follow_the_part_wherever_it_is() -> None:
    swapped = CPUINFO.replace("0xd85", "?").replace("0xd87", "0xd85").replace("?", "0xd87")
    assert cpu_list(performance_cores(swapped, CAPACITIES)) == "0-4,10-14"


def test_parts_that_nobody_knows_are_distinguished_by_capacity() -> None:
    unknown = CPUINFO.replace("0xd85", "0xfff").replace("0xd87", "0xffe")
    assert cpu_list(performance_cores(unknown, CAPACITIES)) == "5-9,15-19"
    assert cpu_list(performance_cores(unknown, {})) == "0-19"
    assert cpu_list(performance_cores(unknown, {19: 1024})) == "0-19"


def test_where_all_are_alike_all_are_fast() -> None:
    assert performance_cores(X86, {}) == (0, 1, 2, 3)
    grace = CPUINFO.replace("0xd85", "0xd4f").replace("0xd87", "0xd4f")
    assert len(performance_cores(grace, {cpu: 996 + cpu for cpu in range(20)})) == 20
    only_fast = CPUINFO.replace("0xd87", "0xd85")
    assert len(performance_cores(only_fast, {})) == 20


def test_nothing_to_read_is_no_core() -> None:
    assert performance_cores("", {}) == ()
    assert parts_of("processor\t: 0\nCPU implementer\t: 0x41\n\nrubbish\n") == {0: None}


def test_capacities_are_read_from_the_kernel(tmp_path: object) -> None:
    assert capacities_of(spark_tree(tmp_path)) == CAPACITIES


@pytest.mark.parametrize(("cpus", "text"), [((), ""), ((3,), "3"), ((1, 0, 2, 9), "0-2,9"), ((0, 2), "0,2")])
def test_lists_are_written_as_docker_reads_them(cpus: tuple[int, ...], text: str) -> None:
    assert cpu_list(cpus) == text
    assert not cpus or cpu_numbers(text) == set(cpus)
