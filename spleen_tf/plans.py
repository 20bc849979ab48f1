"""plan.json: what a long run does, so that in its folder only the same run goes on."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from spleen_tf import files
from spleen_tf.files import InputError

FILE_NAME = "plan.json"


def hold(folder: str | os.PathLike, plan: Mapping[str, Any], may_grow: Sequence[str] = ()) -> None:
    """Writes down what is run, or holds this run against what was written down.

    Args:
        folder: the run's output.
        plan: what makes two runs the same one, as JSON gives it back.
        may_grow: keys of dicts to which a later run may add entries, but whose entries stay.

    Raises:
        InputError: if the folder holds another run, whose results would be taken for this one's.
    """
    path = pathlib.Path(folder) / FILE_NAME
    earlier = files.read_json(path) if path.is_file() else plan
    grown = {key: {**earlier.get(key, {}), **plan[key]} for key in may_grow}
    for key in {**earlier, **plan}:
        before, now = earlier.get(key), plan.get(key)
        if key in may_grow:
            before = earlier.get(key, {})
            now = {name: grown[key][name] for name in before}
        if now != before:
            raise InputError(
                f"{path}: expected the same {key} as before to resume, found another; use another "
                "--output_dir."
            )
    files.write_json(path, {**plan, **grown})
