"""What is wrong with the flags of predict, as far as it can be seen without TensorFlow."""

from __future__ import annotations

import pathlib
import re

from spleen_tf.core import flags
from spleen_tf.core.files import InputError
from spleen_tf.jobs import places
from spleen_tf.jobs.config import PredictConfig
from spleen_tf.reporting.outputs import DICOM_OBJECTS


def check_flags(config: PredictConfig) -> None:
    """Raises InputError for flags that do not go together, or whose values are not in order."""
    if config.send:
        from spleen_tf.io.dicom import network  # Few need pydicom, which it imports.

        network.archive(config.send, config.send_from)
        if not any(getattr(config, kind) for kind in DICOM_OBJECTS):
            raise InputError(
                "--send: expected together with --dicom_seg, --dicom_sr or --dicom_sc, found it "
                "alone."
            )
    if not re.fullmatch(r"auto|cpu|gpu(:\d+)?", config.device):
        raise InputError(f"--device: expected auto, cpu, gpu or gpu:N, found {config.device!r}.")
    if config.table:
        places.check_place(pathlib.Path(config.table), (".csv",))
    flags.check_together(
        config,
        ("preview_voxel", "preview"),
        ("smooth_mesh", "mesh"),
        ("before", "report"),
        ("before_image", "before"),
    )
    if config.preview_voxel and len(config.preview_voxel) != 3:
        found = ",".join(map(str, config.preview_voxel))
        raise InputError(f"--preview_voxel: expected three whole numbers i,j,k, found {found}.")
    if config.before:
        from spleen_tf.comparison import aligned, timepoints  # Few need what they import.

        timepoints.read(config.before)
        if config.before_image:
            aligned.check_files(config.before, config.before_image)


def check_for_many(config: PredictConfig) -> None:
    """Raises InputError where one patient's data would be taken for those of many."""
    for name in ("sex", "age_years", "height_cm", "weight_kg", "before"):
        if getattr(config, name) is not None:
            raise InputError(
                f"--{name}: expected one volume to segment, found a folder of them; leave it out, "
                "or segment one volume at a time."
            )


def check_for_runner(config: PredictConfig) -> None:
    """Raises InputError for flags that do not go together with --runner."""
    check_flags(config)
    check_for_many(config)
    for name in ("bids", "series_uid", "send"):
        if getattr(config, name):
            raise InputError(f"--{name}: expected no --runner beside it, found {config.runner}.")
