"""Gives a family the interval of its volumes: writes volume_intervals into its quality.json.

Takes the volumes of the cases that a cross-validation held out (cases.csv and, if they are still
there, the JSON files beside the masks) and learns, for CT and MR each, how far a volume may be off.
tools/study_quality.py does the same; this program is for a quality.json that exists already.

Example:
    python tools/calibrate_volume.py --cross_validation=data/cv --quality=models/mine/quality.json
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from spleen_tf.core import flags
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import flag
from spleen_tf.evaluation import held_out_volumes
from spleen_tf.quality import calibration, volume_interval


@dataclasses.dataclass(frozen=True)
class CalibrateVolumeConfig:
    cross_validation: str = flag(
        "",
        "A folder that tools/cross_validate.py wrote, or a released family's, whose cases.csv has "
        "no JSON files beside it: these cases are then of the calibration's modality.",
        required=True,
    )
    quality: str = flag("", "The family's quality.json, which gets the intervals.", required=True)


def main(config: CalibrateVolumeConfig) -> None:
    only = calibration.read(config.quality).modality or None
    volumes = held_out_volumes.read(config.cross_validation, lambda case: only)
    intervals = volume_interval.by_modality(volumes)
    if not intervals:
        raise InputError(
            f"{config.cross_validation}: expected {volume_interval.LEAST_CASES} cases or more of "
            "CT or of MR in which something was found, found fewer."
        )
    calibration.add_volume_intervals(config.quality, intervals)
    for modality, interval in intervals.items():
        print(f"{config.quality}: {modality}: {interval}", flush=True)


if __name__ == "__main__":
    flags.run(main, CalibrateVolumeConfig)
