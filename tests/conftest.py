"""What several test modules share: tiny volumes, the real ones where there are any, a full disk."""

import contextlib
import dataclasses
import gzip
import importlib
import json
import os
import pathlib
import resource
import shutil
import struct
import subprocess
import sys
import warnings

import hypothesis
import nibabel
import numpy as np
import pytest

from spleen_tf.core import flags as commands
from spleen_tf.imaging import planes
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti
from spleen_tf.training.config import AugmentConfig, TrainConfig

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Where the fields of a NIfTI-1 header lie, by the standard's nifti1.h, and how they are laid out.
NIFTI1_FIELDS = {
    "sizeof_hdr": (0, "i"),
    "db_name": (14, "18s"),
    "dim": (40, "8h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scaling": (112, "2f"),  # scl_slope, scl_inter
    "xyzt_units": (123, "B"),
    "descrip": (148, "80s"),
    "aux_file": (228, "24s"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern": (256, "3f"),
    "qoffset": (268, "3f"),
    "srow": (280, "12f"),
    "intent_name": (328, "16s"),
    "magic": (344, "4s"),
}

# The same examples in every run, and no limit of time, since the machine may be busy.
hypothesis.settings.register_profile("spleen_tf", derandomize=True, deadline=None)
hypothesis.settings.load_profile("spleen_tf")


@pytest.fixture(scope="session")
def real_data():
    """A folder with real volumes: mr_t2/ and ct/, each in the Decathlon layout.

    None belong to the project. They are looked for in $SPLEEN_TF_REAL_DATA, else in
    ../shared/data beside the project.
    """
    folder = os.environ.get("SPLEEN_TF_REAL_DATA") or ROOT.parent / "shared" / "data"
    folder = pathlib.Path(folder)
    if not (folder / "mr_t2" / "imagesTr").is_dir():
        pytest.skip("no real volumes in $SPLEEN_TF_REAL_DATA or ../shared/data (mr_t2/imagesTr)")
    return folder


@pytest.fixture(scope="session")
def tiny_nifti():
    """An oblique 8×6×5 int16 NIfTI-1 file, different on every axis; see tests/data/README.md."""
    return ROOT / "tests" / "data" / "oblique_8x6x5.nii"


@pytest.fixture(scope="session")
def sound(tiny_nifti):
    """The bytes of the tiny oblique file."""
    return tiny_nifti.read_bytes()


@pytest.fixture
def write_bytes(tmp_path):
    """A function that writes bytes under a name, compressed where the name says so."""

    def write(content, name="a.nii"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


@pytest.fixture(scope="session")
def patched():
    """A function that returns a NIfTI-1 file's bytes with some header fields overwritten."""

    def with_fields(content, order="<", **fields):
        content = bytearray(content)
        for name, value in fields.items():
            offset, layout = NIFTI1_FIELDS[name]
            values = value if isinstance(value, tuple) else (value,)
            struct.pack_into(order + layout, content, offset, *values)
        return bytes(content)

    return with_fields


@pytest.fixture(scope="session")
def field_of():
    """A function that reads one header field from a NIfTI-1 file's bytes."""

    def field(content, name, order="<"):
        offset, layout = NIFTI1_FIELDS[name]
        values = struct.unpack_from(order + layout, content, offset)
        return values[0] if len(values) == 1 else values

    return field


@pytest.fixture(scope="session")
def make_affine():
    """A function from axis codes such as 'LPS' to an affine along the world's axes."""

    def affine_of(axcodes, zooms_mm=(0.8, 0.7, 5.0), origin_mm=(-90.0, 40.0, 700.0)):
        affine = np.eye(4)
        affine[:3, :3] = 0
        for axis, (letter, zoom) in enumerate(zip(axcodes, zooms_mm, strict=True)):
            row = next(r for r, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
            affine[row, axis] = zoom if letter in "RAS" else -zoom
        affine[:3, 3] = origin_mm
        return affine

    return affine_of


@pytest.fixture(scope="session")
def make_volume(make_affine):
    """A function that returns a Volume whose voxel (i, j, k) holds 100 i + 10 j + k."""

    def volume_of(axcodes="RAS", shape=(8, 6, 5), zooms_mm=(0.8, 0.7, 5.0), dtype=np.int16):
        i, j, k = np.indices(shape)
        affine = make_affine(axcodes, zooms_mm)
        return Volume((100 * i + 10 * j + k).astype(dtype), affine, f"tiny_{axcodes}.nii")

    return volume_of


@pytest.fixture(scope="session")
def no_room():
    """A context in which no file grows beyond 64 bytes, as if the disk were full."""

    @contextlib.contextmanager
    def limited():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture(scope="session")
def run_python():
    """A function that runs `python ARGUMENTS…` with spleen_tf importable, output captured."""

    def run(*arguments, cwd=ROOT, timeout_s=120):
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def load_tool():
    """A function that imports a program of tools/ by its name, as its worker processes do."""

    def load(name):
        folder = str(ROOT / "tools")
        if folder not in sys.path:
            sys.path.insert(0, folder)
        return importlib.import_module(name)

    return load


@pytest.fixture(scope="session")
def make_records(make_affine, load_tool, tmp_path_factory):
    """A function that converts axial slices, written as volumes; it returns the records' folder.

    Each case is (split, modality, images_nhw int16, labels_nhw uint8).
    """
    tool = load_tool("make_tfrecords")

    def convert(cases, pixel_mm=(2.0, 1.5), slice_mm=5.0, num_shards=2):
        folder = tmp_path_factory.mktemp("dataset")
        affine = make_affine("RAS", (pixel_mm[1], pixel_mm[0], slice_mm))
        rows = ["case,image,label,modality,split"]
        for name, (split, modality, images_nhw, labels_nhw) in cases.items():
            for part, slices_nhw in (("image", images_nhw), ("label", labels_nhw)):
                array_ijk = planes.stack(slices_nhw, affine, "axial")
                nibabel.save(nibabel.Nifti1Image(array_ijk, affine), folder / f"{name}_{part}.nii")
            rows.append(f"{name},{name}_image.nii,{name}_label.nii,{modality},{split}")
        (folder / "cases.csv").write_text("\n".join(rows) + "\n")
        output = folder / "records"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of cases that have no spleen, on purpose.
            tool.main(
                tool.ConvertConfig(
                    dataset=str(folder / "cases.csv"),
                    output_dir=str(output),
                    plane="axial",
                    num_shards=num_shards,
                    workers=1,
                )
            )
        return str(output)

    return convert


def write_weights_by_hand(path, in_channels):
    """Weights of a network of two base filters and depth 2 with which its logit is 8 (x − 1/2).

    With one channel, x is the image itself. With three, it is the image one slice, one row and
    one column before: what is bright comes out moved by one voxel towards each of the three.
    """
    from spleen_tf.network import unet
    from spleen_tf.network.spec import NetworkSpec

    network = unet.build(NetworkSpec(in_channels=in_channels, base_filters=2, depth=2))
    tap = 1 if in_channels == 1 else 0  # The kernel's middle, or its upper left corner.
    values = {
        "encoder_0_conv_0/kernel": ((tap, tap, 0, 0), 1),
        "encoder_0_conv_1/kernel": ((1, 1, 0, 0), 1),
        "decoder_0_conv_0/kernel": ((1, 1, 0, 0), 1),  # The skip connection's first channel.
        "decoder_0_conv_1/kernel": ((1, 1, 0, 0), 1),
        "logits/kernel": ((0, 0, 0, 0), 8),
        "logits/bias": ((0,), -4),
    }
    for variable in network.variables:
        name = variable.name.removesuffix(":0")
        value = np.zeros(variable.shape, np.float32)
        if name.endswith(("gamma", "moving_variance")):
            # Normalization adds 0.001 to the variance; with these it changes nothing.
            value[:] = np.sqrt(1.001) if name.endswith("gamma") else 1
        elif name in values:
            index, number = values[name]
            value[index] = number
        variable.assign(value)
    network.save_weights(path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Folders as training leaves them, by modality, with weights set by hand.

    The MR model has one channel and the CT model three; see write_weights_by_hand. Both see
    pixels of 2 mm.
    """
    folders = {}
    for modality, in_channels, window in (("MR", 1, [0.5, 99.5]), ("CT", 3, [-160.0, 240.0])):
        folder = folders[modality] = tmp_path_factory.mktemp(f"trained_{modality}")
        config = {
            "image_size": [32.0],
            "in_channels": in_channels,
            "base_filters": 2,
            "depth": 2,
            "norm": "batch",
            "dropout": 0.0,
            "learning_rate": 0.001,
            "steps": 10,
        }
        training = {
            "config": config,
            "plane": "coronal",
            "modality": modality,
            "pixel_mm": [2.0, 2.0],
            "window": window,
            "train": {"case_a": "aa11", "case_b": "bb22"},
            "validation": {"case_c": "cc33"},
        }
        (folder / "training.json").write_text(json.dumps(training))
        write_weights_by_hand(folder / "best.weights.h5", in_channels)
    return folders


@pytest.fixture(scope="session")
def exported(trained, tmp_path_factory):
    """The SavedModel folders of the trained models, by modality, as export wrote them.

    It ran as in a process that has just trained in mixed precision.
    """
    import keras

    from spleen_tf import export

    folders = {}
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        for modality, model_dir in trained.items():
            place = tmp_path_factory.mktemp("models") / f"by_hand_{modality}" / "saved_model"
            export.main(export.ExportConfig(model_dir=str(model_dir), export_dir=str(place)))
            folders[modality] = place
    finally:
        keras.mixed_precision.set_global_policy("float32")
    return folders


@pytest.fixture
def model_copy(exported, tmp_path):
    """A function that copies an exported model and overwrites entries of its model.json."""

    def copy(modality, /, folder="model", **entries):
        place = tmp_path / folder
        shutil.copytree(exported[modality], place)
        path = place / "assets.extra" / "model.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
        return place

    return copy


@pytest.fixture(scope="session")
def make_dataset(make_volume):
    """A function that writes a data set in the Decathlon layout; it returns the folder.

    `volumes` are Volumes by case name; or names of one letter, whose volumes are make_volume's
    plus 1000 for the second case, 2000 for the third and so on. In every case the label is 1 in
    the box i from 2 to 4, j from 1 to 3, k from 1 to 2, which is 18 voxels.
    """

    def write(folder, volumes, modality="CT"):
        if isinstance(volumes, str):
            volumes = {name: make_volume() for name in volumes}
            for number, volume in enumerate(volumes.values()):
                volume.array_ijk[:] += 1000 * number
        pairs = []
        for name, image in volumes.items():
            box = np.zeros(image.shape, np.uint8)
            box[2:5, 1:4, 1:3] = 1
            pair = {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            nifti.write(folder / pair["image"], image)
            nifti.write(folder / pair["label"], Volume(box, image.affine, pair["label"]))
            pairs.append(pair)
        description = {"modality": {"0": modality}, "training": pairs}
        (folder / "dataset.json").write_text(json.dumps(description))
        return folder

    return write


@pytest.fixture
def run_main(monkeypatch, capsys):
    """A function that runs a command in this process: its exit code, its stdout, its stderr."""

    def run(main, config_type, *flags):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, flags)])
        capsys.readouterr()
        with warnings.catch_warnings():  # Which puts warnings.showwarning back, too.
            warnings.simplefilter("always")
            with pytest.raises(SystemExit) as exited:
                commands.run(main, config_type)
        return exited.value.code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def disc_records(make_records):
    """CT records in which the spleen is a bright disc: two cases train, one validates."""
    row, column = np.indices((16, 16))

    def case(split, center_row, center_column):
        disc = (row - center_row) ** 2 + (column - center_column) ** 2 < 16
        labels_nhw = np.zeros((5, 16, 16), np.uint8)
        labels_nhw[1:4] = disc
        return split, "CT", np.where(labels_nhw > 0, 150, -50).astype(np.int16), labels_nhw

    return make_records(
        {"a": case("train", 7, 9), "b": case("train", 9, 6), "v": case("validation", 8, 8)}
    )


@pytest.fixture(scope="session")
def quick_training(disc_records):
    """A function from changes to the configuration of a training that takes seconds."""

    def settings(**changes):
        quick = {"image_size": (16,), "base_filters": 2, "depth": 1, "batch_size": 4}
        quick |= {"steps_per_epoch": 2, "precision": "float32", "learning_rate": 0.01}
        # Not to trace what other tests look at.
        quick |= {f"augment_{field.name}": 0.0 for field in dataclasses.fields(AugmentConfig)}
        return TrainConfig(**{"records": disc_records, **quick, **changes})

    return settings


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium with Debian's driver, its console kept; .ci/run installs both."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium and chromedriver on the PATH (Debian: chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    # Root may not use the sandbox; WebGL without a graphics card is SwiftShader's.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--use-angle=swiftshader")
    options.add_argument("--enable-unsafe-swiftshader")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")  # Pages work offline.
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = webdriver.Chrome(options, Service(driver))
    running.set_window_size(1200, 1000)
    yield running
    running.quit()
