"""The files of a DGX Spark that `doctor` reads, as its kernel shows them."""

from pathlib import Path

A725, X925 = (range(5), range(10, 15)), (range(5, 10), range(15, 20))
FAST = tuple(cpu for cluster in X925 for cpu in cluster)
_BLOCK = """processor\t: {cpu}
BogoMIPS\t: 2000.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid sve sve2 i8mm bf16 bti
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {part}
CPU revision\t: 1

"""
CPUINFO = "".join(_BLOCK.format(cpu=cpu, part="0xd85" if cpu in FAST else "0xd87") for cpu in range(20))
CAPACITIES = {cpu: (1024 if cpu == FAST[-1] else 997) if cpu in FAST else 718 for cpu in range(20)}
MEMINFO = """MemTotal:       127607836 kB
MemFree:        104857600 kB
MemAvailable:   121634816 kB
Cached:          16777216 kB
SwapTotal:       16777212 kB
SwapFree:        16777212 kB
"""
RELEASE = """DGX_NAME="DGX Spark"
DGX_PRETTY_NAME="NVIDIA DGX Spark"
DGX_SWBUILD_VERSION="7.2.3"
DGX_SERIAL_NUMBER="1990000000000"
DGX_OTA_VERSION="7.3.1"
"""


def spark_tree(root: Path, governor: str = "performance") -> Path:
    """Those files below a folder."""
    files = {"proc/cpuinfo": CPUINFO, "proc/meminfo": MEMINFO, "etc/dgx-release": RELEASE}
    files["proc/self/status"] = "CapBnd:\t000001ffffffffff\n"
    for cpu, capacity in CAPACITIES.items():
        files[f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity"] = f"{capacity}\n"
        files[f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"] = f"{governor}\n"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root
