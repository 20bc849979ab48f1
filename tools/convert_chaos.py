"""Converts the T2-SPIR MR subjects of the CHAOS challenge to a data set in the Decathlon's layout.

The challenge gives each subject's images as a DICOM series and its organs as one PNG per slice, of
the same name as the slice's DICOM file, in which the spleen has the grey values 240 to 255. Its CTs
have no spleens outlined.

The data are CC BY-NC-SA 4.0 (Kavur et al., 2021, doi:10.5281/zenodo.3431873). From the unpacked
CHAOS_Train_Sets.zip,

    python tools/convert_chaos.py --chaos=data/Train_Sets --output_dir=data/chaos

makes imagesTr/chaos_t2_01.nii.gz, labelsTr/chaos_t2_01.nii.gz and so on, and dataset.json.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
import tqdm
from PIL import Image

from spleen_tf.core import files, flags
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import flag
from spleen_tf.datasets import layouts
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti
from spleen_tf.io.dicom import series
from spleen_tf.io.dicom.frames import Frame

# Liver and kidneys have up to 200, the spleen has 240 to 255.
DARKEST_SPLEEN = 240


@dataclasses.dataclass(frozen=True)
class ChaosConfig:
    chaos: str = flag(
        "", "The unpacked training set; MR/NUMBER/T2SPIR is looked for in it.", required=True
    )
    output_dir: str = flag("", "A folder for the data set.", required=True)
    subjects: str = flag("", "Numbers of subjects, separated by commas. Empty: all.")


def main(config: ChaosConfig) -> None:
    output = pathlib.Path(config.output_dir)
    if (output / "dataset.json").exists():
        raise InputError(
            f"{output}: expected no data set yet, found dataset.json; move it away, or choose "
            "another --output_dir."
        )
    entries = []
    for number, folder in tqdm.tqdm(_subjects(config), desc="convert", unit="case", disable=None):
        image = series.read(folder / "DICOM_anon")
        label = dataclasses.replace(image, array_ijk=_spleen(image, folder / "Ground"))
        entry = {}
        for kind, volume in (("image", image), ("label", label)):
            entry[kind] = f"./{kind}sTr/chaos_t2_{number:02d}.nii.gz"
            files.make_folder(output / f"{kind}sTr")
            nifti.write(output / entry[kind], volume)
        entries.append(entry)
    layouts.write_decathlon(
        output,
        name="CHAOS T2-SPIR",
        description="T2-SPIR MR of the abdomen with spleen labels; CC BY-NC-SA 4.0.",
        modality="MR",
        training=entries,
    )
    print(f"{output}: {len(entries)} subjects")


def _subjects(config: ChaosConfig) -> list[tuple[int, pathlib.Path]]:
    """Numbers and folders of the subjects that have labels and are asked for, in order."""
    chaos = pathlib.Path(config.chaos).absolute()
    folders: dict[int, pathlib.Path] = {}
    for ground in chaos.glob("**/T2SPIR/Ground"):
        number = ground.parent.parent.name
        if not number.isdecimal() or int(number) in folders:
            raise InputError(
                f"{ground}: expected one folder MR/NUMBER/T2SPIR per subject in {chaos}, found "
                f"{number!r} {'again' if number.isdecimal() else 'for a number'}."
            )
        folders[int(number)] = ground.parent
    if not folders:
        raise InputError(
            f"{chaos}: expected MR/NUMBER/T2SPIR/Ground in it, found none; name the folder into "
            "which CHAOS_Train_Sets.zip was unpacked."
        )
    asked = [text.strip() for text in config.subjects.split(",") if text.strip()]
    for text in asked:
        if not text.isdecimal() or int(text) not in folders:
            raise InputError(
                f"--subjects: expected some of {', '.join(map(str, sorted(folders)))}, "
                f"found {text!r}."
            )
    return sorted((n, folders[n]) for n in ({int(text) for text in asked} or folders))


def _spleen(image: Volume, ground: pathlib.Path) -> np.ndarray:
    """uint8 (I, J, K): 1 where a subject's PNGs show spleen, on the grid of its DICOM series."""
    mask_ijk = np.zeros(image.shape, np.uint8)
    pngs = [ground / f"{pathlib.Path(frame.path).stem}.png" for frame in image.header.frames]
    for path in sorted(set(ground.glob("[!.]*.png")) - set(pngs)):
        raise InputError(
            f"{path}: expected DICOM_anon/{path.stem}.dcm for it, found none in "
            f"{image.source}; unpack CHAOS_Train_Sets.zip again."
        )
    for k, (frame, path) in enumerate(zip(image.header.frames, pngs, strict=True)):
        mask_ijk[..., k] = (_greys(path, frame) >= DARKEST_SPLEEN).T
    if not mask_ijk.any():
        raise InputError(
            f"{ground}: expected grey values from {DARKEST_SPLEEN} on for the spleen, found none "
            "in any slice; leave the subject out, by --subjects."
        )
    return mask_ijk


def _greys(path: pathlib.Path, frame: Frame) -> np.ndarray:
    """uint8 (rows, columns): the PNG of a slice's organs."""
    try:
        with Image.open(path) as picture:
            greys = np.asarray(picture)
    except (OSError, SyntaxError) as error:  # The latter is Pillow's for damaged chunks.
        raise InputError(
            f"{path}: expected a PNG with the organs of {frame.path}, found none that can be read "
            f"({getattr(error, 'strerror', None) or error}); unpack CHAOS_Train_Sets.zip again."
        ) from None
    if (picture.mode, greys.shape) != ("L", frame.shape):
        raise InputError(
            f"{path}: expected {frame.shape[0]} rows and {frame.shape[1]} columns of 8-bit grey "
            f"(mode L), as for {frame.path}, found an array of {greys.shape} (mode "
            f"{picture.mode}); unpack CHAOS_Train_Sets.zip again."
        )
    return greys


if __name__ == "__main__":
    flags.run(main, ChaosConfig)
