"""The rows of conversion to records, and the records that other rows train on."""

from __future__ import annotations

import os
import pathlib
import warnings

import nibabel
import numpy as np

from spleen_tf.benchmark import measure
from spleen_tf.benchmark.bench import Bench, Measure
from spleen_tf.benchmark.rows import Measurement
from spleen_tf.core import files
from spleen_tf.datasets import cases, convert, layouts
from spleen_tf.datasets.splits import Splits, write_splits
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti

FEW_CASES, MANY_CASES = 3, 12
TOOL = pathlib.Path(__file__).parents[2] / "tools" / "make_tfrecords.py"


def conversion(bench: Bench) -> Measurement:
    """One volume to records, beside nibabel that only reads it."""
    image = bench.inputs.ct
    label = bench.new_folder("label") / "label.nii.gz"
    volume = nifti.read(image)
    mask = np.zeros(volume.shape, np.uint8)
    mask[tuple(slice(n // 3, n // 2) for n in volume.shape)] = 1
    nifti.write_mask(label, mask, like=volume)
    case = layouts.Case("case", os.fspath(image), os.fspath(label), "CT")
    splits = Splits(("case",), ())

    def converted() -> None:
        options = convert.Options(plane="axial", workers=1)
        convert.convert([case], splits, bench.new_folder("converted"), options)

    return measure.alternating(
        lambda: measure.seconds(converted),
        lambda: measure.seconds(lambda: _read_by_nibabel(image)),
        bench.repeats,
    )


def rss_growth(bench: Bench) -> Measurement:
    """Memory of the process that converts, with four times the cases."""
    few, many = (dataset(bench, count) for count in (FEW_CASES, MANY_CASES))

    def peak_gb(folder: pathlib.Path) -> float:
        output = bench.new_folder("records")
        arguments = (f"--dataset={folder}", f"--output_dir={output}", "--workers=1")
        return measure.python(os.fspath(TOOL), *arguments).peak_gb

    return Measurement((peak_gb(many),), (peak_gb(few),))


def records(bench: Bench, count: int) -> pathlib.Path:
    """The folder of axial records of so many phantoms, all of which train."""
    listed = cases.load(dataset(bench, count))
    output = bench.new_folder("records")
    splits = Splits(tuple(case.name for case in listed), ())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Phantoms that are alike, on purpose.
        convert.convert(listed, splits, output, convert.Options(plane="axial"))
    write_splits(output / "splits.json", splits)
    return output


def dataset(bench: Bench, count: int) -> pathlib.Path:
    """A data set of so many CT phantoms."""
    folder = bench.new_folder("dataset")
    for name in ("imagesTr", "labelsTr"):
        files.make_folder(folder / name)
    entries = []
    for number, phantom in enumerate(bench.inputs.phantoms(count)):
        pair = {"image": phantom.image, "label": phantom.label}
        entries.append({kind: _written(folder, kind, number, pair[kind]) for kind in pair})
    layouts.write_decathlon(folder, "Benchmark", "CT phantoms", "CT", entries)
    return folder


def _read_by_nibabel(path: pathlib.Path) -> object:
    image = nibabel.load(path)
    assert isinstance(image, nibabel.Nifti1Image)  # Its declared type has no voxels.
    return np.asanyarray(image.dataobj)


def _written(folder: pathlib.Path, kind: str, number: int, volume: Volume) -> str:
    """Writes a volume; its path relative to the data set's folder."""
    place = f"./{kind}sTr/case_{number:02d}.nii.gz"
    nifti.write(folder / place, volume)
    return place


# By the names of their goals.
ROWS: dict[str, Measure] = {
    "convert": conversion,
    "rss_growth": rss_growth,
}
