"""A full study made from nothing: 10 models x 3 environments x 30 runs, 900,000 requests, 4,300,200 samples.

On disk it is what a sweep leaves: one Parquet file an attempt and table. Ten times the rows keep the number of runs and
lengthen each (`--times-rows 10`); ten times the runs keep their length (`--times-runs 10`).

    python benchmarks/synthetic_study.py DIR [--times-rows 10] [--times-runs 10] [--seed 0]
"""

import argparse
import time
from pathlib import Path

from sparkray.simulate import Plant, plant

# The suite, with a quantised model in place of the one that the machine cannot hold.
MODELS = (
    *("Qwen2-1.5B", "Gemma-2B", "Phi-3-mini", "DeepSeek-R1-7B", "Mistral-7B-v0.3", "Llama-3-8B", "GPT-OSS-20B"),
    *("Mixtral-8x7B", "GPT-OSS-120B", "Llama-3.3-70B-FP4"),
)
REQUESTS, SAMPLES, RUNS = 1000, 4778, 30


def full_study(folder: Path, *, times_rows: int = 1, times_runs: int = 1, seed: int = 0) -> Path:
    """The study in a new folder. Returns the dataset's path."""
    planted = Plant(
        name="full",
        models=MODELS,
        runs=RUNS * times_runs,
        requests=REQUESTS * times_rows,
        samples=SAMPLES * times_rows,
        seed=seed,
        speed_ratio={"container_baseline": 0.988, "container_optimized": 0.998},
        memory_ratio={"container_baseline": 1.03, "container_optimized": 1.004},
        size_slope=0.0005,
    )
    return plant(folder, planted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--times-rows", type=int, default=1)
    parser.add_argument("--times-runs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.monotonic()
    path = full_study(given.folder, times_rows=given.times_rows, times_runs=given.times_runs, seed=given.seed)
    size = sum(file.stat().st_size for file in path.rglob("*.parquet"))
    print(f"{path}: {size / 1e6:.0f} MB of Parquet in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
