"""sparkray: what does running LLM inference in a Docker container cost?

The words, as the whole package uses them (experimental-design terms; ASTM E1325 is the vocabulary):

experiment
    A question fixed before the data: factors, blocks, replicates, margins, primary metrics, seed.
factor, level, treatment
    What is varied; a value of it; one level of every factor that applies. `environment` is the factor of the main
    question: `native`, `container_baseline`, `container_optimized` (and `host`, a plain process, as a third arm).
block
    One run of every environment, with the same model on the same machine, one after the other.
run
    One treatment applied once, a fresh engine start: the experimental unit. "run" is a noun here.
request
    An observation inside a run; never a replicate.
workload
    `offline`: the load is made inside the environment. `serve`: a client outside sends it to a server inside.
outcome
    What a run left behind. `ok` is the only status that counts; the others are `saturated`, `failed`, `timeout`, `oom`,
    `unready`, `invalid` and `interrupted`.
attempt
    One try at a planned run. Failed tries are kept beside the one that is ok.

Subpackages, top to bottom; imports point down only (the whole list is in `pyproject.toml`, `tool.importlinter`): `sweep` >
`workflows` > `report`, `optimize`, `cluster` > `execute`, `analysis`, `audit`, `simulate` > `machine`, `images`, `store` >
`telemetry`, `checks` > `engines`, `client` > `catalog` > `runtimes` > `plan` > `metrics`, `stats` > `records` > `config` >
`schema` > `errors` > `units`.

In Python, `sparkray.load("results/local")` opens a dataset (`sparkray.api`).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:  # type checkers know the name: importing it takes longer than anything else that comes before `main`
    from typing import Any

    from sparkray.api import Results, load

__version__ = "0.1.0"
__all__ = ["Results", "__version__", "load"]


def __getattr__(name: str) -> "Any":  # noqa: ANN401 - a module's attributes have any type
    """`load` and `Results`, imported when first used: `--help` needs neither Polars nor SciPy."""
    if name in ("load", "Results"):
        from importlib import import_module  # noqa: PLC0415 - as above

        return getattr(import_module("sparkray.api"), name)
    raise AttributeError(f"module 'sparkray' has no attribute {name!r}")
