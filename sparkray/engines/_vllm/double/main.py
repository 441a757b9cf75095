"""The command line of the simulated vLLM; see the package."""

import sys

if __name__ == "__main__":
    from vllm.entrypoints.cli.bench import run  # type: ignore[import-not-found]

    raise SystemExit(run(sys.argv[1:]))
