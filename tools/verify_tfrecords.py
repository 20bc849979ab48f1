"""Verifies records: checksums, schema, counts and hashes; rebuilds the volumes in them.

Exit code 1 says that damage was found; each damaged file or case has its line.

Example:
    python tools/verify_tfrecords.py --records=data/records/coronal --rebuild_dir=data/rebuilt
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from spleen_tf.core import flags
from spleen_tf.core.flags import flag
from spleen_tf.datasets.verify import Verification


@dataclasses.dataclass(frozen=True)
class VerifyConfig:
    records: str = flag("", "A folder that make_tfrecords.py wrote.", required=True)
    rebuild_dir: str | None = flag(
        None, "A folder for the rebuilt volumes, CASE.nii.gz and CASE_label.nii.gz."
    )


def main(config: VerifyConfig) -> int:
    verification = Verification(config.records, config.rebuild_dir)
    damage = 0
    for line in verification.faults():
        print(f"damage: {' '.join(line.split())}", file=sys.stderr)
        damage += 1
    slices_of = verification.slices_of
    print(
        f"{config.records}: {sum(slices_of.values())} slices of {len(slices_of)} cases, "
        + (f"{damage} faults" if damage else "intact")
    )
    return flags.EXIT_FAILED if damage else flags.EXIT_DONE


if __name__ == "__main__":
    flags.run(main, VerifyConfig)
