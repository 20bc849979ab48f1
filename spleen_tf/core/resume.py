"""plan.json: what a long run does, so that in its folder only the same run goes on."""

from __future__ import annotations

import os
import pathlib
import types
from collections.abc import Mapping
from typing import Any

from spleen_tf.core import files
from spleen_tf.core.files import InputError

FILE_NAME = "plan.json"


def hold(
    folder: str | os.PathLike[str],
    plan: Mapping[str, Any],
    may_grow: Mapping[str, Mapping[str, Any]] = types.MappingProxyType({}),
) -> None:
    """Writes down what is run, or holds this run against what was written down.

    Args:
        folder: the run's output.
        plan: what makes two runs the same one, as JSON gives it back.
        may_grow: keys of dicts to which a later run may add entries, but whose entries stay. Each
            has the defaults of its entries' settings, by which an entry went that is older than a
            setting.

    Raises:
        InputError: if the folder holds another run, whose results would be taken for this one's: a
            value differs, or one of the two has a key that the other lacks.
    """
    path = pathlib.Path(folder) / FILE_NAME
    earlier = _read(path, may_grow) if path.is_file() else plan
    # Both have the entries of both; where these disagree, `kept` has the earlier, `joined` the new.
    kept = {**earlier, **{key: {**plan[key], **earlier.get(key, {})} for key in may_grow}}
    joined = {**plan, **{key: {**earlier.get(key, {}), **plan[key]} for key in may_grow}}
    for key in {**kept, **joined}:
        before, now = kept.get(key), joined.get(key)
        if now != before:
            shown_before = "" if isinstance(before, (dict, list)) else f" ({before})"
            shown_now = "another" if isinstance(now, (dict, list)) else now
            message = (
                f"{path}: expected the same {key} as before{shown_before} to resume, found "
                f"{shown_now}; use another --output_dir."
            )
            raise InputError(" ".join(message.split()))  # The file's texts may have lines.
    files.write_json(path, joined)


def _read(path: pathlib.Path, may_grow: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    content = files.read_json(path)
    is_plan = isinstance(content, dict) and all(_is_entries(content.get(k, {})) for k in may_grow)
    if not is_plan:
        raise InputError(f"{path}: expected the plan of a run, found other JSON; remove it.")
    grown = {
        key: {name: {**defaults, **entry} for name, entry in content[key].items()}
        for key, defaults in may_grow.items()
        if key in content
    }
    return {**content, **grown}


def _is_entries(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(entry, dict) for entry in value.values())
