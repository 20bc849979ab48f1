"""What is read from DICOM series that are sound; refusals are in test_dicom_refusals.py."""

import hashlib
import pathlib
import pickle
import shutil
import subprocess
import sys
import warnings

import dicom_files
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom import config, uid
from pydicom.dataelem import DataElement

from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.io.dicom import folder, streams
from spleen_tf.io.dicom import series as dicom_series

DCM2NIIX = pathlib.Path(sys.executable).with_name("dcm2niix")


def by_dcm2niix(source, folder):
    """Voxels and affine as dcm2niix converts them, in the order that DICOM stores them."""
    folder.mkdir()
    arguments = ["-z", "n", "-b", "n", "-f", "converted", "-o", folder, source]
    subprocess.run([DCM2NIIX, *arguments], check=True, capture_output=True, timeout=60)
    image = nibabel.load(folder / "converted.nii")
    array, affine = np.asarray(image.dataobj), image.affine
    flip = np.diag([1.0, -1.0, 1.0, 1.0])  # It stores rows from the last to the first.
    flip[1, 3] = array.shape[1] - 1
    return array[:, ::-1], affine @ flip


def by_simpleitk(source):
    """The same by GDCM, which SimpleITK reads DICOM with."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(
        reader.GetGDCMSeriesFileNames(str(source)) if source.is_dir() else [str(source)]
    )
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), dicom_files.LPS @ affine


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("plane", dicom_files.PLANES)
def test_voxels_and_affine_are_those_of_dcm2niix_and_simpleitk(tmp_path, plane, modality):
    stored = dicom_files.ramp() - 300
    scaling = {"RescaleSlope": "2", "RescaleIntercept": "-100"}
    affine = dicom_files.affine_of(plane)
    dicom_files.write_series(tmp_path / "scan", stored, affine, modality, **scaling)
    image = dicom_series.read(tmp_path / "scan")
    np.testing.assert_array_equal(image.array_ijk, 2 * stored - 100)
    assert image.array_ijk.dtype == np.int16
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    assert (image.source, image.modality) == (str(tmp_path / "scan"), modality)
    for array, theirs in (
        by_dcm2niix(tmp_path / "scan", tmp_path / "converted"),
        by_simpleitk(tmp_path / "scan"),
    ):
        np.testing.assert_array_equal(image.array_ijk, array)
        np.testing.assert_allclose(image.affine, theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("plane", "orientation", "first_lps"),
    [("axial", "LPS", (-90, 40, 700)), ("coronal", "LIP", (-90, 40, 700))],
)
def test_left_and_posterior_of_dicom_are_negative_in_ras(tmp_path, plane, orientation, first_lps):
    dicom_files.write_series(tmp_path, dicom_files.ramp(), dicom_files.affine_of(plane))
    image = dicom_series.read(tmp_path)
    assert image.orientation == orientation
    x, y, z = first_lps
    np.testing.assert_allclose(image.affine[:3, 3], (-x, -y, z))
    np.testing.assert_allclose(image.zooms_mm, (0.8, 0.7, 5.0), rtol=1e-6)


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("plane", ["axial", "oblique"])
def test_an_enhanced_file_is_read_by_the_places_of_its_frames(tmp_path, plane, modality):
    path, affine = tmp_path / "enhanced.dcm", dicom_files.affine_of(plane)
    dicom_files.write_enhanced(path, dicom_files.ramp(), affine, modality)
    for named in (path, tmp_path):
        image = dicom_series.read(named)
        np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp())
        np.testing.assert_allclose(image.affine, affine, atol=1e-5)
        assert image.modality == modality
    array, theirs = by_dcm2niix(tmp_path, tmp_path / "converted")
    np.testing.assert_array_equal(image.array_ijk, array)
    np.testing.assert_allclose(image.affine, theirs, atol=1e-4)


def test_geometry_alone_is_read_without_pixels(tmp_path):
    dicom_files.write_series(tmp_path, dicom_files.ramp())
    image, geometry = dicom_series.read(tmp_path), dicom_series.read_geometry(tmp_path)
    assert geometry.shape == image.shape
    np.testing.assert_array_equal(geometry.affine, image.affine)
    assert geometry.header.paths == image.header.paths


def test_a_volume_can_be_handed_to_another_process(tmp_path):
    dicom_files.write_series(tmp_path, dicom_files.ramp())
    image = dicom_series.read(tmp_path)
    copy = pickle.loads(pickle.dumps(image))
    np.testing.assert_array_equal(copy.array_ijk, image.array_ijk)
    assert copy.header.frames == image.header.frames


def test_an_affine_is_what_nifti1_can_hold(tmp_path):
    affine = dicom_files.affine_of(zooms_mm=(0.7871, 0.7871, 1.1))
    dicom_files.write_series(tmp_path, dicom_files.ramp(), affine)
    found = dicom_series.read(tmp_path).affine
    np.testing.assert_array_equal(found, found.astype(np.float32).astype(np.float64))


# name: what is stored, elements of the files; the values to expect and their type.
STORED = {
    "signed 16 bits": (dicom_files.ramp() - 300, {}, dicom_files.ramp() - 300, np.int16),
    "unsigned 16 bits": (dicom_files.ramp(dtype=np.uint16), {}, dicom_files.ramp(), np.int16),
    "unsigned beyond int16": (
        dicom_files.ramp(dtype=np.uint16) + np.uint16(60000),
        {},
        dicom_files.ramp(dtype=np.float32) + 60000,
        np.float32,
    ),
    "unsigned, brought into int16 by an intercept": (
        dicom_files.ramp(dtype=np.uint16) + np.uint16(32768),
        {"RescaleIntercept": "-32768"},
        dicom_files.ramp(),
        np.int16,
    ),
    "8 bits": (
        dicom_files.ramp((4, 5, 3)).astype(np.uint8),
        {},
        dicom_files.ramp((4, 5, 3)) % 256,
        np.int16,
    ),
    "halves": (
        dicom_files.ramp(),
        {"RescaleSlope": "0.5"},
        dicom_files.ramp(dtype=np.float32) / 2,
        np.float32,
    ),
    "a fraction that comes out whole": (
        2 * dicom_files.ramp(),
        {"RescaleSlope": "0.5", "RescaleIntercept": "-7.0"},
        dicom_files.ramp() - 7,
        np.int16,
    ),
    "12 of 16 bits, unsigned, with an overlay above": (
        dicom_files.ramp(dtype=np.uint16) | np.uint16(0xA000),
        {"BitsStored": 12, "HighBit": 11},
        dicom_files.ramp(),
        np.int16,
    ),
    "12 of 16 bits, signed, with zeros above": (
        (dicom_files.ramp() - 300) & np.int16(0x0FFF),
        {"BitsStored": 12, "HighBit": 11},
        dicom_files.ramp() - 300,
        np.int16,
    ),
    "12 of 16 bits at the upper end": (
        dicom_files.ramp(dtype=np.uint16) << np.uint16(4),
        {"BitsStored": 12, "HighBit": 15},
        dicom_files.ramp(),
        np.int16,
    ),
    "MONOCHROME1": (
        dicom_files.ramp() - 300,
        {"PhotometricInterpretation": "MONOCHROME1"},
        dicom_files.ramp() - 300,
        np.int16,
    ),
}


@pytest.mark.parametrize("stored", STORED)
def test_values_are_in_physical_units_however_they_are_stored(tmp_path, stored):
    array, elements, expected, dtype = STORED[stored]
    dicom_files.write_series(tmp_path, array, **elements)
    image = dicom_series.read(tmp_path)
    assert image.array_ijk.dtype == dtype
    np.testing.assert_array_equal(image.array_ijk, expected)


def test_values_of_monochrome1_are_those_of_dcm2niix(tmp_path):
    """The standard has it say how to display. SimpleITK inverts: it would turn 40 HU into -41."""
    dicom_files.write_series(
        tmp_path / "scan", dicom_files.ramp(), PhotometricInterpretation="MONOCHROME1"
    )
    array, _ = by_dcm2niix(tmp_path / "scan", tmp_path / "converted")
    np.testing.assert_array_equal(dicom_series.read(tmp_path / "scan").array_ijk, array)
    inverted, _ = by_simpleitk(tmp_path / "scan")
    np.testing.assert_array_equal(inverted, -1 - dicom_files.ramp())


def test_every_slice_is_scaled_by_its_own_slope_and_intercept(tmp_path):
    def own_scaling(k, dataset):
        dataset.RescaleSlope, dataset.RescaleIntercept = str(k + 1), str(-k)

    dicom_files.write_series(tmp_path, dicom_files.ramp(), change=own_scaling)
    k = np.arange(5)
    expected = dicom_files.ramp() * (k + 1) - k
    np.testing.assert_array_equal(dicom_series.read(tmp_path).array_ijk, expected)


def test_every_frame_is_scaled_by_its_own_slope(tmp_path):
    def own_scaling(dataset):
        for group in dataset.PerFrameFunctionalGroupsSequence:
            place = group.PlanePositionSequence[0].ImagePositionPatient[2]
            scaling = group.PixelValueTransformationSequence[0]
            scaling.RescaleSlope = str(round((place - 700) / 5) + 0.5)

    dicom_files.write_enhanced(tmp_path / "a.dcm", dicom_files.ramp(), change=own_scaling)
    image = dicom_series.read(tmp_path)
    assert image.array_ijk.dtype == np.float32
    np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp() * (np.arange(5) + 0.5))


LARGER = (40, 36, 3)  # The encoder of JPEG 2000 takes no fewer than 32 rows.


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("encoding", dicom_files.ENCODINGS)
def test_compressed_slices_are_decoded(tmp_path, encoding, signed):
    stored = dicom_files.ramp(LARGER) - 300 if signed else dicom_files.ramp(LARGER, np.uint16)
    dicom_files.write_series(
        tmp_path / "scan",
        stored,
        change=lambda k, dataset: dicom_files.ENCODINGS[encoding](dataset),
    )
    syntax = pydicom.dcmread(next((tmp_path / "scan").iterdir())).file_meta.TransferSyntaxUID
    assert syntax.is_compressed
    np.testing.assert_array_equal(dicom_series.read(tmp_path / "scan").array_ijk, stored)


@pytest.mark.parametrize("encoding", dicom_files.LOSSY_ENCODINGS)
def test_lossy_jpeg_is_decoded(tmp_path, encoding):
    bits, encode = dicom_files.LOSSY_ENCODINGS[encoding]
    dtype, divisor = {8: (np.uint8, 20), 12: (np.uint16, 2)}[bits]
    stored = (dicom_files.ramp(LARGER) // divisor).astype(dtype)  # Up to 212, up to 2126.
    dicom_files.write_series(
        tmp_path, stored, change=lambda k, d: encode(d), BitsStored=bits, HighBit=bits - 1
    )
    syntax = pydicom.dcmread(next(tmp_path.iterdir())).file_meta.TransferSyntaxUID
    assert syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
    np.testing.assert_allclose(dicom_series.read(tmp_path).array_ijk, stored, atol=1)


@pytest.mark.parametrize("encoding", ["RLE", "JPEG-LS", "JPEG 2000"])
def test_compressed_frames_are_decoded(tmp_path, encoding):
    path = tmp_path / "a.dcm"
    dicom_files.write_enhanced(
        path, dicom_files.ramp(LARGER), change=dicom_files.ENCODINGS[encoding]
    )
    np.testing.assert_array_equal(dicom_series.read(path).array_ijk, dicom_files.ramp(LARGER))


@pytest.mark.parametrize(
    ("syntax", "implicit", "little"),
    [
        (uid.ImplicitVRLittleEndian, True, True),
        (uid.ExplicitVRBigEndian, False, False),
        (uid.DeflatedExplicitVRLittleEndian, False, True),
    ],
)
def test_other_uncompressed_encodings_are_read(tmp_path, syntax, implicit, little):
    for path in dicom_files.write_series(tmp_path, dicom_files.ramp()):
        dataset = pydicom.dcmread(path)
        if not little:
            dataset.PixelData = dataset.pixel_array.astype(">i2").tobytes()
            dataset["PixelData"].VR = "OW"
        dataset.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(path, dataset, implicit_vr=implicit, little_endian=little)
    np.testing.assert_array_equal(dicom_series.read(tmp_path).array_ijk, dicom_files.ramp())


def test_files_without_preamble_are_read(tmp_path):
    for path in dicom_files.write_series(tmp_path, dicom_files.ramp()):
        dataset = pydicom.dcmread(path)
        del dataset.file_meta, dataset.preamble
        pydicom.dcmwrite(path, dataset, implicit_vr=True, little_endian=True)
        assert path.read_bytes()[:2] == b"\x08\x00"
    np.testing.assert_array_equal(dicom_series.read(tmp_path).array_ijk, dicom_files.ramp())


def test_files_are_found_in_nested_folders_by_any_name_among_others(tmp_path):
    paths = dicom_files.write_series(tmp_path / "a" / "b", dicom_files.ramp())
    for k, path in enumerate(paths[:3]):
        (tmp_path / f"part {k}").mkdir()
        path.rename(tmp_path / f"part {k}" / ("slice.dcm", "slice.IMA", "17")[k])
    (tmp_path / "a" / "readme.txt").write_text("not an image")
    (tmp_path / ".hidden.dcm").write_bytes(b"of the system")
    (tmp_path / "empty").mkdir()
    np.testing.assert_array_equal(dicom_series.read(tmp_path).array_ijk, dicom_files.ramp())


def test_a_dicomdir_and_objects_that_are_no_images_are_passed_over(tmp_path):
    paths = dicom_files.write_series(tmp_path / "scan", dicom_files.ramp())
    for name, kind in (
        ("DICOMDIR", uid.MediaStorageDirectoryStorage),
        ("list", uid.MediaStorageDirectoryStorage),
        ("report", uid.BasicTextSRStorage),
        ("mask", uid.SegmentationStorage),
        ("display", uid.GrayscaleSoftcopyPresentationStateStorage),
        ("screenshot", uid.SecondaryCaptureImageStorage),
    ):
        dataset = pydicom.dcmread(paths[0])
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = kind
        dataset.SeriesInstanceUID += ".7"
        pydicom.dcmwrite(tmp_path / name, dataset)
    assert [series.num_images for series in dicom_series.find(tmp_path)] == [5]
    np.testing.assert_array_equal(dicom_series.read(tmp_path).array_ijk, dicom_files.ramp())


def test_localizers_are_left_out_with_a_warning(tmp_path):
    dicom_files.write_series(tmp_path / "scan", dicom_files.ramp())
    dicom_files.write_series(
        tmp_path / "scout",
        dicom_files.ramp((9, 9, 2)),
        dicom_files.affine_of("coronal"),
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )
    with pytest.warns(InputWarning, match=r"2 localizers \(images for planning\) are left out"):
        image = dicom_series.read(tmp_path)
    np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp())


def test_one_of_several_series_is_chosen_by_its_uid(tmp_path):
    second = dicom_files.SERIES_UID + ".2"
    dicom_files.write_series(tmp_path / "a", dicom_files.ramp())
    dicom_files.write_series(
        tmp_path / "b", dicom_files.ramp() + 7, modality="MR", SeriesInstanceUID=second
    )
    image = dicom_series.read(tmp_path, second)
    np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp() + 7)
    assert image.modality == "MR"
    found = dicom_series.find(tmp_path)
    assert [(s.uid, s.modality, s.num_images) for s in found] == [
        (dicom_files.SERIES_UID, "CT", 5),
        (second, "MR", 5),
    ]
    assert dicom_series.modality(tmp_path, second) == "MR"
    assert dicom_series.modality(tmp_path, dicom_files.SERIES_UID) == "CT"
    assert dicom_series.modality(tmp_path, "1.2.3") is None


def test_slices_within_one_percent_of_even_distances_are_taken(tmp_path):
    def shifted(k, dataset):
        dataset.ImagePositionPatient[2] += 0.04 if k == 2 else 0  # 0.8% of 5 mm.

    dicom_files.write_series(tmp_path, dicom_files.ramp(), change=shifted)
    np.testing.assert_allclose(dicom_series.read(tmp_path).zooms_mm[2], 5.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("spacing_mm", "decimals"), [(0.625, 2), (1.25, 1), (0.3125, 1), (3.2999, 2), (0.7, 0)]
)
def test_positions_that_are_rounded_are_even(tmp_path, spacing_mm, decimals):
    """0.625 mm become 0.62 and 0.63. Of 0.7 mm, 0, 1, 1, 2 leave two slices at one place."""

    def rounded(k, dataset):
        dataset.ImagePositionPatient[2] = f"{round(700.003 + k * spacing_mm, decimals):.4f}"

    stored = dicom_files.ramp((8, 6, 33))
    paths = dicom_files.write_series(tmp_path, stored, change=rounded)
    if decimals == 0:
        with pytest.raises(InputError, match="expected one image at each position"):
            dicom_series.read(tmp_path)
        return
    image = dicom_series.read(tmp_path)
    np.testing.assert_array_equal(image.array_ijk, stored)
    np.testing.assert_allclose(image.zooms_mm[2], spacing_mm, atol=0.1 / 32)
    for missing in (1, 16, 31):  # Stays a gap, wherever it is.
        content = paths[missing].read_bytes()
        paths[missing].unlink()
        with pytest.raises(InputError, match=r"expected (a slice every|slices at even)"):
            dicom_series.read_geometry(tmp_path)
        paths[missing].write_bytes(content)


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("said", [None, "0570384101564345250320910917064912175922600827316"])
def test_an_image_whose_class_an_anonymizer_removed_is_read_by_its_modality(
    tmp_path, modality, said
):
    for path in dicom_files.write_series(tmp_path, dicom_files.ramp(), modality=modality):
        without_class(path, said)
    image = dicom_series.read(tmp_path)
    np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp())
    assert image.modality == modality


def without_class(path, said):
    """Takes SOPClassUID from a file, or puts another text in its place; from the meta, too."""
    dataset = pydicom.dcmread(path)
    del dataset.SOPClassUID, dataset.file_meta.MediaStorageSOPClassUID
    if said:
        dataset["SOPClassUID"] = DataElement(
            "SOPClassUID", "UI", said, validation_mode=config.IGNORE
        )
    pydicom.dcmwrite(path, dataset, enforce_file_format=False)


def test_an_image_that_says_neither_class_nor_modality_is_refused_by_both_names(tmp_path):
    for path in dicom_files.write_series(tmp_path, dicom_files.ramp(), Modality=""):
        without_class(path, None)
    message = r"expected SOPClassUID \(0008,0016\), or Modality \(0008,0060\) of CT or MR"
    with pytest.raises(InputError, match=message):
        dicom_series.read(tmp_path)


def test_objects_of_a_makers_class_beside_images_are_passed_over(tmp_path):
    dicom_files.write_series(tmp_path / "a", dicom_files.ramp())
    private = {"SOPClassUID": "1.3.12.2.1107.5.9.1", "SeriesInstanceUID": "1.2.3"}
    dicom_files.write_series(tmp_path / "b", dicom_files.ramp(), **private)
    assert [s.uid for s in dicom_series.find(tmp_path)] == [dicom_files.SERIES_UID]


def test_identical_copies_of_a_slice_are_left_out_with_a_warning(tmp_path):
    paths = dicom_files.write_series(tmp_path, dicom_files.ramp())
    for name in ("copy", "IM0001 (1)"):
        shutil.copy(paths[1], tmp_path / name)
    with pytest.warns(InputWarning, match="2 of 7 slices repeat the place and pix"):
        image = dicom_series.read(tmp_path)
    np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp())
    assert len(image.header.paths) == 5


def test_copies_under_another_instance_uid_are_left_out_with_a_warning(tmp_path):
    for path in dicom_files.write_series(tmp_path, dicom_files.ramp()):
        copy = pydicom.dcmread(path)
        copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
        pydicom.dcmwrite(tmp_path / f"{path.name}_copy", copy)
    with pytest.warns(InputWarning, match="5 of 10 slices repeat the place and pixels of others"):
        image = dicom_series.read(tmp_path)
    np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp())


def test_empty_files_and_dead_links_are_named(tmp_path):
    dicom_files.write_series(tmp_path, dicom_files.ramp())
    (tmp_path / "IM0005").touch()
    (tmp_path / "IM0006").symlink_to(tmp_path / "absent")
    with pytest.warns(
        InputWarning, match="empty or a link to a missing file: IM0005 and 1 more; if"
    ):
        image = dicom_series.read(tmp_path)
    np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp())


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    dicom_files.write_series(tmp_path / "store", dicom_files.ramp())
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "slices").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "again").symlink_to(tmp_path / "scan")
    image = dicom_series.read(tmp_path / "scan")
    np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp())


def test_packed_files_in_the_place_of_slices_are_named(tmp_path):
    (tmp_path / "scan.zip").write_bytes(b"PK")
    with pytest.raises(
        InputError, match=r"found no DICOM file, but a packed one, scan\.zip: unpack"
    ):
        dicom_series.read(tmp_path)


def test_other_objects_of_the_series_are_named(tmp_path):
    dicom_files.write_series(tmp_path, dicom_files.ramp())
    other = {"SOPClassUID": uid.PositronEmissionTomographyImageStorage, "Modality": "PT"}
    dicom_files.write_series(tmp_path / "b", dicom_files.ramp((8, 6, 1)), **other)
    with pytest.warns(InputWarning, match="left out of the series, .*: 1 of Positron Emission"):
        image = dicom_series.read(tmp_path)
    np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp())


@pytest.mark.parametrize(("said", "is_warned"), [("PT", True), ("MRI", True), ("ct", False)])
def test_a_modality_that_the_class_is_not_for_is_named(tmp_path, said, is_warned):
    dicom_files.write_series(tmp_path, dicom_files.ramp(), Modality=said)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert dicom_series.read_geometry(tmp_path).modality == "CT"
    messages = [str(warning.message) for warning in caught]
    assert (
        any("but SOPClassUID (0008,0016) is CT Image Storage" in m for m in messages) == is_warned
    )


def test_cosines_of_another_length_than_1_do_not_change_the_volume(tmp_path):
    directions = [0.9995, 0, 0, 0, 1.0004, 0]
    dicom_files.write_series(tmp_path, dicom_files.ramp(), ImageOrientationPatient=directions)
    image = dicom_series.read_geometry(tmp_path)
    np.testing.assert_allclose(image.grid.zooms_mm, [0.8, 0.7, 5.0], rtol=1e-6)


def test_positions_of_oblique_slices_may_be_off_by_what_each_coordinate_is_rounded(tmp_path):
    """Of 3.27 mm along (0.2, 0.2, 0.98) or so, three coordinates are each 0.05 mm off at most."""
    affine = dicom_files.affine_of("oblique", (0.8, 0.7, 3.27))

    def rounded(k, dataset):
        dataset.ImagePositionPatient = [round(float(x), 1) for x in dataset.ImagePositionPatient]

    paths = dicom_files.write_series(
        tmp_path, dicom_files.ramp((8, 6, 40)), affine=affine, change=rounded
    )
    np.testing.assert_allclose(
        dicom_series.read_geometry(tmp_path).grid.zooms_mm[2], 3.27, atol=0.005
    )
    paths[17].unlink()
    with pytest.raises(InputError, match=r"1 missing at \S+ mm along the normal by ImagePosition"):
        dicom_series.read_geometry(tmp_path)


def test_a_list_of_sixty_series_is_cut(tmp_path):
    for n in range(60):
        one = dicom_files.ramp((4, 4, 1))
        series_uid = f"1.2.3.{n + 100}"
        dicom_files.write_series(
            tmp_path / str(n), one, SeriesInstanceUID=series_uid, SeriesDescription=f"run {n}"
        )
    with pytest.raises(InputError) as caught:
        dicom_series.read(tmp_path)
    message = str(caught.value)
    assert "found 60: 1.2.3.100 (run 0, 1 images); 1.2.3.101 (run 1, 1 images); " in message
    assert "; 1.2.3.104 (run 4, 1 images); and 55 more; choose one by --series_uid" in message


@pytest.mark.parametrize("syntax", ["1.2.840.113619.5.2", "1.2.3.4"])
def test_an_encoding_that_is_not_known_is_refused_by_its_uid(tmp_path, syntax):
    for path in dicom_files.write_series(tmp_path, dicom_files.ramp()):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=True)
    with pytest.raises(InputError, match=r"expected TransferSyntaxUID \(0002,0010\) that can be"):
        dicom_series.read(tmp_path)


def test_voxels_are_read_on_from_a_geometry_without_reading_headers_again(tmp_path, monkeypatch):
    dicom_files.write_series(tmp_path, dicom_files.ramp())
    geometry = dicom_series.read_geometry(tmp_path)
    monkeypatch.setattr(pydicom, "dcmread", None)
    image = dicom_series.read_voxels(geometry)
    np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp())


@pytest.mark.parametrize("count", [1, 3])
def test_a_single_number_that_is_repeated_counts_once(tmp_path, count):
    def repeated(k, dataset):
        dataset.RescaleSlope = ["2"] * count

    dicom_files.write_series(tmp_path, dicom_files.ramp(), change=repeated)
    np.testing.assert_array_equal(dicom_series.read(tmp_path).array_ijk, 2 * dicom_files.ramp())


def test_numbers_that_are_padded_with_spaces_are_read(tmp_path):
    def padded(k, dataset):
        dataset["PixelSpacing"] = DataElement(
            "PixelSpacing", "LO", " 0.7 \\ 0.8 ", validation_mode=config.IGNORE
        )

    dicom_files.write_series(tmp_path, dicom_files.ramp(), change=padded)
    np.testing.assert_allclose(dicom_series.read(tmp_path).zooms_mm, (0.8, 0.7, 5), rtol=1e-6)


def test_a_series_digest_is_that_of_its_files_in_the_order_of_slices(tmp_path):
    paths = dicom_files.write_series(tmp_path / "scan", dicom_files.ramp())
    image = dicom_series.read(tmp_path / "scan")
    assert image.header.paths == [str(path) for path in paths]
    expected = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
    assert dicom_series.sha256(image) == expected
    # Names do not count.
    (tmp_path / "other").mkdir()
    for name, path in zip("badce", paths, strict=True):
        shutil.copy(path, tmp_path / "other" / name)
    assert dicom_series.sha256(dicom_series.read_geometry(tmp_path / "other")) == expected


def test_a_folder_holds_dicom_only_if_a_file_of_it_is(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.dcm.txt").write_text("x" * 200)
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(100))
    assert not folder.holds_dicom(tmp_path)
    dicom_files.write_series(tmp_path / "a" / "b", dicom_files.ramp())
    assert folder.holds_dicom(tmp_path)
    assert streams.is_dicom(next((tmp_path / "a" / "b").iterdir()))
    assert not streams.is_dicom(tmp_path / "absent")
