"""Finds the spleen in a volume, or in every volume of a folder.

Writes the mask as NIfTI in the source's geometry and, beside it, a JSON with its volume. A source
is a NIfTI file or a DICOM series. Without --model, the released family that is best for the
volume's modality is taken.

Examples:
    python -m spleen_tf.predict --model=models/spleen_mr_t2 --input=scan.nii.gz \\
        --output=data/out.nii.gz --preview=data/out.png --mesh=data/out.stl
    python -m spleen_tf.predict --input=DICOM_FOLDER --output=data/out.nii.gz \\
        --dicom_seg=data/out.dcm
    python -m spleen_tf.predict --input=dicomweb+https://HOST/dicom-web/studies/UID/series/UID \\
        --output=data/out.nii.gz --dicom_seg=data/out.dcm --send=AET@HOST:PORT
    python -m spleen_tf.predict --model=models/spleen_mr_t2 --input=imagesTs --output=data/masks
    python -m spleen_tf.predict --model=models/mine --dataset=data/mr_t2 \\
        --splits=data/records/splits.json --output=data/masks
"""

from __future__ import annotations

from spleen_tf.core import flags, imports, runners
from spleen_tf.jobs.config import PredictConfig


def main(config: PredictConfig) -> int:
    """Segments every volume; a bad one of many is named, and the others are still done."""
    places = {name: getattr(config, name) for name in ("input", "dataset", "splits", "output")}
    runners.check_flags(config.runner, config.runner_option, places)
    if config.runner:
        return _on_cluster(config)
    # nibabel imports pydicom, for header extensions that nothing here reads; DICOM input does so.
    imports.import_without("nibabel", "pydicom")
    from spleen_tf.jobs import run  # Its libraries take half a second to import, --help does not.

    return run.run(config)


def _on_cluster(config: PredictConfig) -> int:
    """The same by Apache Beam: cases that have no result yet."""
    from spleen_tf.jobs import checks

    checks.check_for_runner(config)
    from spleen_tf.cluster import prediction  # The file systems that it needs are an extra.

    outcome = prediction.predict(config)
    print(f"{config.output}: {outcome}", flush=True)
    return flags.EXIT_FAILED if outcome.failed else flags.EXIT_DONE


if __name__ == "__main__":
    flags.run(main, PredictConfig)
