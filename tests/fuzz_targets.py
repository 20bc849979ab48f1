"""A target per reader of files that come from elsewhere; see fuzzing.py."""

import gzip
import io
import json
import pathlib
import struct
import tempfile

import dicom_files
import fuzzing
import msgspec
import nibabel as nib
import nifti_corpus
import numpy as np
import onnx
import pydicom
from fuzzing import Target
from onnx import helper, numpy_helper
from pydicom import uid

from spleen_tf.comparison import change, family_error, timepoints
from spleen_tf.core import files, flags, resume
from spleen_tf.datasets import cases, fingerprint, framing, metadata, schema, splits
from spleen_tf.evaluation import held_out, held_out_volumes, results, summary
from spleen_tf.evaluation.agreement import limits_of_change
from spleen_tf.evaluation.quality_study import Measurement
from spleen_tf.inference import model_files, prediction
from spleen_tf.inference.runtimes import OnnxModel, SavedModel
from spleen_tf.io import nifti, readers
from spleen_tf.jobs import bids
from spleen_tf.quality import calibration
from spleen_tf.training import run
from spleen_tf.training.config import TrainConfig

ROOT = pathlib.Path(__file__).resolve().parents[1]


# NIfTI


def _nifti_seeds():
    floats = nib.Nifti1Image(np.linspace(-1, 1, 60, dtype=np.float32).reshape(4, 3, 5), np.eye(4))
    return (
        *(
            nifti_corpus.sound(kind, forms)
            for kind in nifti_corpus.KINDS
            for forms in ("both", "none")
        ),
        floats.to_bytes(),
    )


def _mutated_nifti(content, chance):
    """A file that is mutated, packed or not, or the packed file itself."""
    if chance.random() < 0.5:
        return fuzzing.mutated_bytes(content, chance)
    if chance.random() < 0.5:
        return gzip.compress(fuzzing.mutated_bytes(content, chance), 1, mtime=0)
    return fuzzing.mutated_bytes(gzip.compress(content, 1, mtime=0), chance)


# DICOM


def _dicom_slices(change=None, shape=(8, 6, 3)):
    """The files of three slices."""
    with tempfile.TemporaryDirectory() as folder:
        stored = np.resize(dicom_files.ramp((8, 6, 3)), shape)
        paths = dicom_files.write_series(folder, stored)
        contents = []
        for path in paths:
            dataset = pydicom.dcmread(path)
            if change:
                change(dataset)
            out = io.BytesIO()
            dataset.save_as(out, implicit_vr=change is _implicit, little_endian=True)
            contents.append(out.getvalue())
        return contents


def _implicit(dataset):
    dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian


def _deflated(dataset):
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian


def _enhanced_dicom():
    with tempfile.TemporaryDirectory() as folder:
        path = dicom_files.write_enhanced(f"{folder}/enhanced", dicom_files.ramp((8, 6, 3)))
        return path.read_bytes()


def _mutated_dicom(content, chance):
    """Mutated bytes; often of the element lengths, or of sequences within sequences."""
    if chance.random() < 0.1:
        depth = chance.choice((10, 300, 5000))
        item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
        # ReferencedImageSequence (0008,1140) of undefined length, in itself.
        opening = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + item
        at = content.find(b"\x08\x00\x60\x00CS")  # Modality.
        if at > 0:
            return content[:at] + opening * depth + content[at:]
    return fuzzing.mutated_bytes(content, chance)


def _read_dicom(path):
    readers.read(path.parent)


# Records


def record_seed():
    """A record's Example, as a conversion of an oblique volume writes it."""
    affine = np.diag([2.0, 1.5, 5.0, 1.0])
    record = schema.SliceRecord(
        image=np.arange(48, dtype="<i2").tobytes(),
        label=bytes(48),
        height=6,
        width=8,
        dtype="int16",
        case="a",
        modality="CT",
        plane="axial",
        slice_index=0,
        num_slices=5,
        pixel_mm=(1.5, 2.0),
        slice_mm=5.0,
        affine=affine.astype("<f8").tobytes(),
        source_shape=(8, 6, 5),
        source_sha256="0" * 64,
        label_sha256="1" * 64,
        has_spleen=0,
        intensity_percentiles=(0.0, 1.0, 2.0, 3.0, 4.0),
    )
    return schema.to_bytes(record)


def framed(content, length=None):
    """A record of a TFRecord file, with right checksums also of a wrong length."""
    header = struct.pack("<Q", len(content) if length is None else length)
    checksums = (framing.masked_crc32c(header), framing.masked_crc32c(content))
    return b"".join(
        (header, struct.pack("<I", checksums[0]), content, struct.pack("<I", checksums[1]))
    )


def _mutated_records(file, chance):
    """A file of some records: mutated content with right checksums, a wrong length, other bytes."""
    content = file[12:-4]
    kind = chance.random()
    if kind < 0.5:
        return framed(fuzzing.mutated_bytes(content, chance)) + framed(content)
    if kind < 0.7:
        length = chance.choice((0, 1, 1 << 20, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1))
        return framed(content, length)
    return fuzzing.mutated_bytes(file * 2, chance)


def _read_records(path):
    framing.count_records(path)
    schema.from_bytes(framing.first_record(path), str(path))


# Text


def _mutated_text(content, chance):
    if chance.random() < 0.1:
        at = chance.randrange(len(content) + 1)
        piece = chance.choice((b'"', b"\0", b"\xff", b"\n", b",", b";", b"\x1b[2J", b"a" * 200_000))
        return content[:at] + piece + content[at:]
    return fuzzing.mutated_bytes(content, chance)


TABLE = b"""case,image,label,modality,split
a,a.nii.gz,a_label.nii.gz,CT,train
b,"b, c.nii.gz",b_label.nii.gz,CT,validation
"""
FLAGFILE = b"""# A recipe.
--records=records
--model_dir=model
--steps=10
--image_size=32,64
--window=-160,240
--cache
--optimizer=ranger
"""


def _read_flagfile(path):
    flags.parse(["train", f"--flagfile={path}"], TrainConfig)


def _read_table(path):
    cases.load(path, missing_ok=True)


CASE = {
    "split": "train",
    "modality": "CT",
    "plane": "axial",
    "num_slices": 5,
    "spleen_slices": 3,
    "pixel_mm": [1.5, 2.0],
    "slice_mm": 5.0,
    "shape": [8, 6, 5],
    "source_sha256": "0" * 64,
    "label_sha256": "1" * 64,
    "voxels_sha256": "2" * 64,
    "label_voxels_sha256": "3" * 64,
}
DECATHLON = {
    "name": "Spleen",
    "modality": {"0": "CT"},
    "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
}
NNUNET = {
    "name": "Spleen",
    "channel_names": {"0": "CT"},
    "file_ending": ".nii.gz",
    "dataset": {"a": {"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/a.nii.gz"}},
}
SPLITS = {"train": ["a", "b"], "validation": ["c"], "seed": 0, "fold": 0, "num_folds": 5}
FOLDS = [{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]
TRAINING = {
    "config": {"records": "r", "model_dir": "m", "steps": 4, "image_size": [32], "depth": 2},
    "plane": "axial",
    "modality": "CT",
    "pixel_mm": [1.5, 2.0],
    "window": [-160.0, 240.0],
    "train": {"a": "0" * 64},
    "validation": {},
}
INFO = {
    "name": "spleen",
    "version": "1.0.0",
    "splits": [{"name": "train", "shardLengths": ["5"], "numBytes": "1234"}],
}
PLAN = {"pixel_mm": [1.5, 2.0], "window": [-160, 240], "image_size": [32, 64], "depth": 3}


def _released(pattern):
    """Contents of released models' files, of which every checkout has some."""
    return tuple(path.read_bytes() for path in sorted((ROOT / "models").glob(pattern))[:3])


# Models


def _onnx_model():
    """A convolution with the inputs and the output of an exported model."""
    nodes = [
        helper.make_node("Sub", ["slices", "low"], ["shifted"]),
        helper.make_node("Unsqueeze", ["shifted", "axis"], ["images"]),
        helper.make_node("Conv", ["images", "kernel"], ["logits"], pads=[1, 1, 1, 1]),
        helper.make_node("Squeeze", ["logits", "axis"], ["flat"]),
        helper.make_node("Sigmoid", ["flat"], ["probability"]),
    ]
    values = {
        "low": np.float32(40),
        "axis": np.array([1]),
        "kernel": np.linspace(-1, 1, 9, dtype=np.float32).reshape(1, 1, 3, 3),
    }
    shapes = {"slices": ["N", "H", "W"], "pixel_mm": [2], "window": [2]}
    inputs = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    output = helper.make_tensor_value_info("probability", onnx.TensorProto.FLOAT, ["N", "H", "W"])
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "model", inputs, [output], constants)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def _run_onnx(path):
    _run(OnnxModel(path.with_name("saved_model")))


def _run(model):
    slices_nhw = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    model.load()
    model.probability(slices_nhw, (1.5, 1.5), (-160.0, 240.0))


SAVED_MODEL = (
    *("saved_model.pb", "fingerprint.pb", "variables/variables.index"),
    "variables/variables.data-00000-of-00001",
)


def _saved_model(file):
    """A released SavedModel: one of its files is mutated."""
    source = next((ROOT / "models").glob("spleen_*/**/fingerprint.pb")).parent
    depth = file.count("/")
    beside = {
        "../" * depth + name: (source / name).read_bytes() for name in SAVED_MODEL if name != file
    }
    return Target(
        name=file,
        seeds=((source / file).read_bytes(),),
        read=lambda path: _run(SavedModel(path.parents[depth], "cpu", "float32")),
        file=f"saved_model/{file}",
        mutate=fuzzing.mutated_bytes,
        beside=beside,
    )


CASE_JSON = {
    "volume_ml": 203.5,
    "volume_mm3": 203500.0,
    "voxels": 2035,
    "bounding_box_ijk": [[1, 2], [3, 4], [5, 6]],
    "model": "spleen_ct-axial",
    "image_size": [224, 272],
    "learning_rate": 0.001,
    "seconds": {"total": 1.5},
    "centroid_ras_mm": [1.0, 2.0, 3.0],
    "complete": True,
    "mean_intensity": 100.0,
    "components": 1,
    "modality": "CT",
    "predicted_dice": 0.93,
    "predicted_dice_interval": [0.9, 0.95],
    "predicted_dice_note": None,
    "volume_ml_interval": [190.0, 220.0],
    "review": True,
    "reasons": ["a reason"],
    "version": "1.0.0",
    "software": "spleen_tf 0.3.0",
    "peak_rss_mb": 100.0,
}
BIDS = {
    "Name": "A data set",
    "BIDSVersion": "1.9.0",
    "DatasetType": "derivative",
    "DatasetDOI": "doi:10.0/1",
    "GeneratedBy": [{"Name": "spleen_tf", "Version": "1.0.0"}],
}
MEASUREMENTS = [
    {
        "case": "a",
        "corruption": "noise",
        "dice": 0.9,
        "mirrored_ml": {"left": [1.0, 2.0]},
        "reasons": ["a reason"],
        "signs": None,
        "second_opinion": False,
        "known_brightness": 0.5,
    }
]
CROSS_VALIDATED = ROOT / "models" / "spleen_any"


class _Anything:
    """Holds every name."""

    def __contains__(self, name):
        return True


def _json(file, read, *contents, name=None):
    seeds = tuple(one if isinstance(one, bytes) else json.dumps(one).encode() for one in contents)
    return Target(name or file.rpartition("/")[2], seeds, read, file, fuzzing.mutated_json)


def _read_cases_json(path):
    (path.parent / metadata.INFO).touch()
    metadata.read_cases(path.parent)


def _read_plan(path):
    resume.hold(path.parent, {"a": 1, "b": {"c": {"d": 1}}}, {"b": {"d": 1}})


def _read_case_json(path):
    prediction.read(path)
    results.model_of(path.with_name("a.nii.gz"))


def _compare_case_json(path):
    point = timepoints.read(path)
    changed = change.compare("a", point, point, family_error.stated(3.0))
    change.write(path.parent, change.summarize([changed]))
    change.sentence(changed)


def _read_bids(path):
    bids.check_output(path.parent)
    bids.write_description(path.parent / "derivative", path.parent)


def _read_error(path):
    for info in CROSS_VALIDATED.glob("*/saved_model/assets.extra/model.json"):
        copy = path.parent / info.relative_to(CROSS_VALIDATED)
        if not copy.exists():
            copy.parent.mkdir(parents=True)
            copy.write_bytes(info.read_bytes())
            copy.parents[1].joinpath("saved_model.pb").touch()
    if measured := family_error._measured(path.parent, model_files.find([str(path.parent)])):
        limits_of_change(measured.error, measured.error)


def _read_dices(path):
    record = files.read_record(CROSS_VALIDATED / "cv.json", held_out.Record)
    held_out.dices(held_out.CrossValidation(path.parent, record))


def _series(name, contents):
    """The middle slice of three is mutated."""
    first, middle, last = contents
    beside = {"first.dcm": first, "last.dcm": last}
    return Target(name, (middle,), _read_dicom, "series/a.dcm", _mutated_dicom, beside)


TARGETS = {
    target.name: target
    for target in (
        Target("NIfTI", _nifti_seeds(), nifti.read, "a.nii.gz", _mutated_nifti),
        _series("DICOM", _dicom_slices()),
        _series("implicit DICOM", _dicom_slices(_implicit)),
        _series("deflated DICOM", _dicom_slices(_deflated)),
        _series("RLE DICOM", _dicom_slices(dicom_files.ENCODINGS["RLE"])),
        Target("enhanced DICOM", (_enhanced_dicom(),), _read_dicom, "e/a.dcm", _mutated_dicom),
        Target("TFRecord", (framed(record_seed()),), _read_records, "a.tfrecord", _mutated_records),
        Target("table of cases", (TABLE,), _read_table, "cases.csv", _mutated_text),
        Target("cases.csv", _released("*/cases.csv"), results.read_cases, "e.csv", _mutated_text),
        Target(
            "volumes of cases.csv",
            _released("spleen_any/cases.csv"),
            lambda p: held_out_volumes.read(p.parent, lambda name: "CT"),
            "v/cases.csv",
            _mutated_text,
        ),
        Target(
            "Dice of cases.csv",
            _released("spleen_any/cases.csv"),
            _read_dices,
            "d/cases.csv",
            _mutated_text,
        ),
        Target("flag file", (FLAGFILE,), _read_flagfile, "train.flags", _mutated_text),
        Target("ONNX", (_onnx_model(),), _run_onnx, "o/model.onnx", fuzzing.mutated_bytes),
        _json("d/dataset.json", lambda p: cases.load(p.parent, missing_ok=True), DECATHLON, NNUNET),
        _json("splits.json", splits.read_splits, SPLITS, FOLDS),
        _json("r/cases.json", _read_cases_json, {"cases": {"a": CASE}}),
        _json("i/dataset_info.json", lambda p: metadata.read_info(p.parent), INFO),
        _json(
            "f/features.json",
            lambda p: metadata.check_features(p.parent),
            metadata._features_json(),
        ),
        _json("fingerprint.json", fingerprint.read, PLAN),
        _json("training.json", run.read, TRAINING),
        _json(
            "m/assets.extra/model.json",
            lambda p: model_files.describe(p.parents[1]),
            *_released("*/*/saved_model/assets.extra/model.json"),
        ),
        _json("quality.json", calibration.read, *_released("*/quality.json")),
        _json("p/plan.json", _read_plan, {"a": 1, "b": {"c": {"d": 1}}}),
        _json("a.json", _read_case_json, CASE_JSON),
        _json("t/examination.json", _compare_case_json, CASE_JSON),
        _json("b/dataset_description.json", _read_bids, BIDS),
        _json("measured.json", lambda p: files.read_record(p, list[Measurement]), MEASUREMENTS),
        _json("x/cv.json", _read_error, *_released("spleen_any/cv.json"), name="error of cv.json"),
        _json("summary.json", summary.read, msgspec.json.encode(summary.summarize([]).content())),
        _json("c/cv.json", lambda p: held_out.read(p.parent, _Anything()), *_released("*/cv.json")),
    )
}
# Read by native libraries, which cannot be held to limits in this process.
NATIVE = {
    target.name: target
    for target in (
        *(
            _series(name, _dicom_slices(encode, (48, 36, 3)))
            for name, encode in dicom_files.ENCODINGS.items()
            if name != "RLE"
        ),
        *map(_saved_model, SAVED_MODEL),
    )
}
