"""Spleen segmentation in abdominal CT and MR volumes with TensorFlow.

    import spleen_tf

    family = spleen_tf.load("models/spleen_any")
    prediction = family.segment(spleen_tf.read("scan.nii.gz"))
    print(prediction.volume_ml, prediction.reasons)

This gives the mask, the figures and the reasons for a review that `python -m spleen_tf.predict`
gives. Libraries are imported when they are first needed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spleen_tf.imaging.volume import Volume
    from spleen_tf.inference.engine import RuntimeChoice
    from spleen_tf.inference.family import Family

__version__ = "0.2.0"
__all__ = ["Volume", "load", "read"]


def load(
    path: str | os.PathLike[str],
    *others: str | os.PathLike[str],
    runtime: RuntimeChoice = "auto",
    device: str = "auto",
    precision: str = "auto",
) -> Family:
    """Loads a family of models; see `spleen_tf.inference.loading.load`."""
    from spleen_tf.inference import loading

    return loading.load(path, *others, runtime=runtime, device=device, precision=precision)


def read(path: str | os.PathLike[str], series_uid: str | None = None) -> Volume:
    """Reads a NIfTI file or a DICOM series; see `spleen_tf.io.readers.read`."""
    from spleen_tf.io import readers

    return readers.read(path, series_uid)


def __getattr__(name: str) -> Any:
    """`spleen_tf.Volume`, imported when it is first named."""
    if name == "Volume":
        from spleen_tf.imaging.volume import Volume

        return Volume
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
