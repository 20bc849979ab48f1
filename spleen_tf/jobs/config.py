"""The flags of `spleen_tf.predict`."""

from __future__ import annotations

import dataclasses
from typing import Literal

from spleen_tf.core import runners
from spleen_tf.core.flags import flag
from spleen_tf.core.runners import Runner
from spleen_tf.imaging.demographics import Sex
from spleen_tf.imaging.intensity import Modality
from spleen_tf.network.spec import RuntimeChoice


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """What to segment, with what, and what to write."""

    model: tuple[str, ...] = flag(
        (),
        "A SavedModel folder, or a folder with several below it, which are fused. By default the "
        "released family that is best for the volume's modality.",
    )
    input: str | None = flag(
        None,
        "A NIfTI file, a folder of them, or a DICOM series: a folder, a multi-frame file, or "
        "dicomweb+https://HOST/…/studies/UID/series/UID.",
    )
    bids: bool = flag(
        False,
        "--input is a BIDS data set: its anatomical images are segmented, and --output becomes a "
        "derivative of it.",
    )
    dataset: str | None = flag(
        None, "In place of --input, a data set of which --splits names the cases to segment."
    )
    splits: str | None = flag(None, "The splits.json of --dataset, or nnU-Net's splits_final.json.")
    # As datasets.layouts.Split, whose module takes longer to import.
    split: Literal["train", "validation"] = flag("validation", "The cases to segment.")
    fold: int = flag(0, "Which fold of a list of splits.", minimum=0)
    modality: Modality | None = flag(
        None,
        "The volume's modality. By default what the DICOM header or the data set says or, where "
        "neither does, what the voxels look like.",
    )
    sex: Sex | None = flag(
        None,
        "The patient's sex, which the range of usual volumes depends on; by default what the DICOM "
        "header says. This and the next three are for one volume.",
    )
    age_years: float | None = flag(
        None, "The patient's age; by default the header's.", minimum=0, maximum=130
    )
    height_cm: float | None = flag(
        None, "The patient's height; by default the header's.", minimum=30, maximum=260
    )
    weight_kg: float | None = flag(
        None, "The patient's weight; by default the header's.", minimum=0.3, maximum=500
    )
    series_uid: str | None = flag(
        None, "The SeriesInstanceUID, where a DICOM folder has several series."
    )
    output: str = flag(
        "data/out.nii.gz",
        "The mask's file, or a folder for it, where that of DICOM becomes spleen.nii.gz; for a "
        "folder of volumes, a folder of masks.",
    )
    preview: str | None = flag(
        None, "A PNG with three planes and the outline; for a folder of volumes, a folder of PNGs."
    )
    preview_voxel: tuple[int, ...] | None = flag(
        None,
        "i,j,k of a voxel, counted from 0, through which the preview's planes go; by default they "
        "go through the middle of the spleen.",
        minimum=0,
    )
    report: str | None = flag(
        None,
        "An HTML page that shows the result, self-contained in one file; for a folder of volumes, "
        "a folder of pages.",
    )
    before: str | None = flag(
        None,
        "The mask of an earlier examination, or its JSON: the report also shows the change since.",
    )
    before_image: str | None = flag(
        None,
        "The image of --before, NIfTI or a DICOM series: the report shows both outlines, after a "
        "rigid registration, which needs the extra [registration].",
    )
    mesh: str | None = flag(
        None,
        "The surface in mm (RAS+), as .stl, .obj or .ply; for a folder of volumes, a folder of "
        ".stl. Where no spleen is found, none is written.",
    )
    smooth_mesh: bool = flag(False, "Smooths the steps of the voxels.")
    seg_nrrd: str | None = flag(
        None,
        "A segmentation of 3D Slicer (.seg.nrrd) with code and colour; for a folder of volumes, a "
        "folder of them.",
    )
    dicom_seg: str | None = flag(
        None, "A DICOM Segmentation (.dcm) that refers to the images; for DICOM only."
    )
    dicom_sr: str | None = flag(
        None,
        "A DICOM report (.dcm) of the measurements, by template TID 1500; with --dicom_seg, it "
        "refers to that.",
    )
    dicom_sc: str | None = flag(
        None,
        "A DICOM picture (.dcm, Secondary Capture) of three planes with outline and figures, for "
        "viewers that show no Segmentation.",
    )
    send: str | None = flag(
        None,
        "AET@HOST:PORT of an archive or viewer, which gets the DICOM objects by C-STORE.",
    )
    send_from: str = flag("SPLEEN_TF", "The AE title that --send calls from.")
    table: str | None = flag(
        None, "A CSV with a row per volume: the result, and reasons for a review."
    )
    probabilities: str | None = flag(
        None, "A NIfTI with the probability of each voxel; for a folder of volumes, a folder."
    )
    threshold: float | None = flag(
        None,
        "Probability from which a voxel is spleen. By default, and for 0, what the model says.",
        minimum=0,
        maximum=1,
    )
    largest_component: bool = flag(True, "Keeps only the largest connected component.")
    fill_holes: bool = flag(True, "Fills cavities in the mask.")
    second_opinion: bool = flag(
        True,
        "Where a family's models disagree, asks those in its folder second_opinion, if there is "
        "one.",
    )
    tta: bool = flag(
        False, "Test-time augmentation: also sees the body a little larger and smaller."
    )
    full: bool = flag(
        False,
        "Every model looks at every slice, where a first look, or a first model, would show it the "
        "organ's surroundings alone: slower.",
    )
    skip_existing: bool = flag(
        False, "Skips a volume whose outputs all exist, whichever models made them."
    )
    runtime: RuntimeChoice = flag(
        "auto",
        "auto takes ONNX Runtime on a CPU where a model.onnx lies beside each SavedModel, else "
        "TensorFlow. openvino is tried out first, and gives way to ONNX Runtime.",
    )
    precision: str = flag(
        "auto",
        "Of TensorFlow: auto takes float16 on GPUs with tensor cores, bfloat16 on CPUs that have "
        "it. OpenVINO takes the faster of float32 and bfloat16; ONNX Runtime runs in float32.",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    device: str = flag("auto", "auto, cpu, gpu, or gpu:N.")
    runner: Runner | None = flag(None, runners.RUNNER_HELP)
    runner_option: tuple[str, ...] = flag((), runners.OPTION_HELP)
