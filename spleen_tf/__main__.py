"""The command line of the package: spleen-tf VERB … does what python -m spleen_tf.VERB … does."""

from __future__ import annotations

import runpy
import sys

from spleen_tf import __version__
from spleen_tf.core import process

VERBS = (
    ("train", "trains a U-Net on records"),
    ("export", "turns a trained model into a SavedModel"),
    ("predict", "segments volumes with a SavedModel"),
    ("evaluate", "measures predictions against labels"),
    ("explore", "looks a data set over, and plans a training"),
    ("compare", "tells the change between two examinations from the error of measurement"),
)


def main() -> int:
    """Runs the verb that the command line names; it exits by itself with its own exit code."""
    arguments = sys.argv[1:]
    if arguments in ([], ["--help"], ["-h"]):
        process.run(lambda: _printed(_usage()))
    if arguments == ["--version"]:
        process.run(lambda: _printed(f"spleen_tf {__version__}"))
    verb = arguments[0]
    names = [name for name, _ in VERBS]
    if verb not in names:
        print(f"error: expected one of {', '.join(names)}, found {verb!r}.", file=sys.stderr)
        return process.EXIT_INPUT
    del sys.argv[1]
    runpy.run_module(f"spleen_tf.{verb}", run_name="__main__", alter_sys=True)
    return 0


def _printed(text: str) -> int:
    print(text)
    return process.EXIT_DONE


def _usage() -> str:
    lines = [__doc__.strip(), "", "usage: spleen-tf VERB [flags]", ""]
    lines += [f"  {name:<10}{what}" for name, what in VERBS]
    return "\n".join([*lines, "", "spleen-tf VERB --help lists a verb's flags."])


if __name__ == "__main__":
    sys.exit(main())
