"""What several test modules share: tiny volumes, the real ones where there are any, a full disk."""

import contextlib
import gzip
import os
import pathlib
import resource
import struct
import subprocess
import sys

import hypothesis
import numpy as np
import pytest

from spleen_tf.volume import Volume

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
