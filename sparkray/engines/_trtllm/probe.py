"""Asks a `trtllm-bench` for its version and options. Runs in the environment by `python3 -c`; each answer has a title."""

import subprocess
import sys


def ask(name: str, *command: str) -> int:
    """Print the answer of one command under its title; the value is its exit status."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
        )
        answer, status = done.stdout, done.returncode
    except OSError as error:
        answer, status = str(error), 1
    sys.stdout.write(f"@@sparkray {name}\n{answer}\n")
    sys.stdout.flush()
    return status


if __name__ == "__main__":
    if ask("version", sys.executable, "-c", "from importlib.metadata import version; print(version('tensorrt_llm'))"):
        ask("version", sys.executable, "-c", "import tensorrt_llm; print(tensorrt_llm.__version__)")
    ask("group", "trtllm-bench", "--help")
    ask("throughput", "trtllm-bench", "-m", "x", "throughput", "--help")
