"""The flags of a command that can run on Apache Beam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from spleen_tf.core.files import InputError

Runner = Literal["DirectRunner", "DaskRunner", "FlinkRunner", "SparkRunner", "DataflowRunner"]

RUNNER_HELP = (
    "Runs on Apache Beam. A case that fails goes to dead_letter.csv in the output folder, a run "
    "again does only what is missing, and places may be gs:// or s3://."
)
OPTION_HELP = (
    "An option of the runner, such as direct_num_workers=4 or dask_client_address=tcp://HOST:8786."
)


def check_flags(
    runner: Runner | None, options: Sequence[str], place_of_flag: Mapping[str, str | None]
) -> None:
    """Raises InputError for what needs a runner, where there is none.

    Args:
        runner, options: the flags' values.
        place_of_flag: the values of flags that name places.
    """
    if runner:
        return
    if options:
        raise InputError("--runner_option: expected together with --runner, found it alone.")
    for name, place in place_of_flag.items():
        if place and is_url(place):
            raise InputError(f"--{name}: expected a local path without --runner, found {place!r}.")


def is_url(place: str) -> bool:
    """Whether a place is the URL of an object store, and not of a web server."""
    return "://" in place and not place.startswith(("http", "dicomweb"))
