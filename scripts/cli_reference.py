"""The command line's reference, docs/reference/cli.md, from the program's own help: `cli_reference.py [--write | --check]`.

Without an option the page is printed. `--write` writes it, `--check` ends with 1 when the committed page is stale.
"""

import sys
from pathlib import Path

import click

from sparkray.sweep.app import app
from sparkray.sweep.verbs import CONTEXT, VERBS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"
COMMAND = ".venv/bin/python scripts/cli_reference.py --write"
WIDTH = 100
INTRO = f"""# Command line

<!-- Generated from the program's help. After a change there: {COMMAND} -->

`sparkray VERB` and `python -m sparkray.sweep VERB` are the same program.

## Exit status

| | |
|---|---|
| 0 | all planned runs are ok or over-saturated (`doctor`: nothing stops a sweep) |
| 1 | some are not (`doctor`: something would stop a sweep) |
| 2 | the input is wrong: an unknown name, a bad value, an unreadable file |
| 3 | this machine cannot do it: no Docker engine, no root for the chroot, a flag that the host refuses |
| 130 | interrupted; the same command continues |

A first Ctrl-C (SIGINT, SIGTERM or SIGHUP) ends the run under way and stores it. A second one, or 14 seconds, end the
program at once and name what is left. In the first hundredths of a second, while Python itself starts, a signal ends
Python in Python's own way: by the signal, or with a traceback of Python's. Nothing has begun by then.

The next start removes what a dead sweep left: containers, processes, spool folders. It ends nothing whose owner lives,
and refuses the machine instead. A spool that cannot be read is moved to `set-aside/` in its dataset.

`make` turns any status but 0 into its own 2; the line above make's says which it was.

## Environment variables

An option on the command line takes precedence over its variable.

| variable | meaning | option |
|---|---|---|
| `MODELS_TO_TEST` | models, separated by commas or spaces | `--models` |
| `RUNS_PER_MODEL` | blocks per model; each block holds every environment once | `--runs` |
| `TEST_PHASE` | `baseline`, `optimization` or `both`: which environments are compared | `--environments` |
| `OPTIMIZATION_MODE` | the named set of Docker flags that `container_optimized` has | |
| `RAY_ADDRESS` | a Ray cluster to use | `--address` |
| `DOCKER_HOST` | a Docker engine on this machine, if not at the default socket | |
| `DOCKER_CONTEXT` | a Docker context of an engine on this machine; default: the one that `docker context use` set | |
| `XDG_CACHE_HOME` | where weights and root file systems are kept (default `~/.cache`) | |

## Shell completion

`sparkray` completes verbs, options, models, sites and experiments. For bash, put this line into `~/.bashrc` (for zsh and
fish, `zsh_source` and `fish_source`):

    eval "$(_SPARKRAY_COMPLETE=bash_source sparkray)"

## Verbs
"""


def page() -> str:
    """The page as Markdown."""
    settings = {**CONTEXT, "terminal_width": WIDTH, "max_content_width": WIDTH}
    parent = click.Context(app, info_name="sparkray", **settings)
    parts = [INTRO]
    for name in VERBS:
        command = app.get_command(parent, name)
        if command is None:
            raise LookupError(f"verb {name} is listed and cannot be loaded")
        context = click.Context(command, info_name=name, parent=parent, **settings)
        parts.append(f"### {name}\n\n```text\n{command.get_help(context).rstrip()}\n```\n")
    return "\n".join(parts)


def main(arguments: list[str], target: Path = PAGE) -> int:
    """Print, write or compare. Returns the exit status."""
    if arguments not in ([], ["--write"], ["--check"]):
        print(f"cli_reference.py: unknown option {' '.join(arguments)}", file=sys.stderr)
        return 2
    if not arguments:
        print(page(), end="")
    elif arguments == ["--write"]:
        target.write_text(page(), encoding="utf-8")
    elif not target.is_file() or target.read_text(encoding="utf-8") != page():
        print(f"{target} is stale; run: {COMMAND}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
