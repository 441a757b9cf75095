"""The driver's libraries for the native arm, from texts as the two tools print them."""

from pathlib import Path

from sparkray.runtimes.linux.nvidia_driver import (
    MOUNT_POINT,
    driver_binds,
    driver_libraries,
    parse_linker,
    parse_toolkit,
)

TOOLKIT = """/usr/lib/aarch64-linux-gnu/libcuda.so.580.95.05
/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.580.95.05
"""
LINKER = """3 libs found in cache `/etc/ld.so.cache'
\tlibnvidia-ml.so.1 (libc6,AArch64) => /usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1
\tlibcuda.so.1 (libc6,AArch64) => /usr/lib/aarch64-linux-gnu/libcuda.so.1
\tlibcuda.so.1 (libc6) => /usr/lib32/libcuda.so.1
\tlibcudart.so.13 (libc6,AArch64) => /usr/local/cuda/lib64/libcudart.so.13
\tlibc.so.6 (libc6,AArch64) => /lib/aarch64-linux-gnu/libc.so.6
"""


def test_the_toolkits_list_is_taken_first():
    told = {"nvidia-container-cli": TOOLKIT, "ldconfig": LINKER}
    assert driver_libraries(lambda command: told[command[0]]) == tuple(sorted(parse_toolkit(TOOLKIT)))


def test_without_the_toolkit_the_linkers_cache_is_asked():
    told = {"nvidia-container-cli": "", "ldconfig": LINKER}
    assert driver_libraries(lambda command: told[command[0]]) == (
        Path("/usr/lib/aarch64-linux-gnu/libcuda.so.1"),
        Path("/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1"),
    )


def test_the_image_brings_its_own_cuda_runtime_and_libc():
    names = {path.name for path in parse_linker(LINKER)}
    assert names == {"libcuda.so.1", "libnvidia-ml.so.1"}


def test_a_machine_without_a_driver_has_none():
    assert driver_libraries(lambda _: "") == ()


def test_each_library_is_there_under_the_name_that_programs_ask_for(tmp_path):
    real = tmp_path / "libcuda.so.580.95.05"
    real.write_bytes(b"")
    (tmp_path / "libcuda.so.1").symlink_to(real)
    binds = driver_binds((tmp_path / "libcuda.so.1",))
    assert binds == (
        (str(real), f"{MOUNT_POINT}/libcuda.so.1", True),
        (str(real), f"{MOUNT_POINT}/libcuda.so.580.95.05", True),
    )
