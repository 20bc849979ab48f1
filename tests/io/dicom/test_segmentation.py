"""A mask as a DICOM Segmentation: what it refers to, what it says, and where its voxels lie."""

import pathlib
import re

import dicom_files
import highdicom
import numpy as np
import pydicom
import pytest
from pydicom import config, uid
from pydicom.dataelem import DataElement

from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.imaging.volume import Volume
from spleen_tf.io.dicom import segmentation, series, sources


def mask_of(shape=(8, 6, 5)):
    """Different on every axis: a box in slices 1 and 2, and a voxel in slice 4."""
    mask = np.zeros(shape, bool)
    mask[2:5, 1:3, 1:3] = True
    mask[7, 5, 4] = True
    return mask


@pytest.fixture
def read_series(tmp_path):
    """A function that writes a series, classic or enhanced, and reads it."""

    def read(kind="classic", plane="axial", **options):
        affine = dicom_files.affine_of(plane)
        if kind == "classic":
            dicom_files.write_series(tmp_path / "scan", dicom_files.ramp(), affine, **options)
        else:
            path = tmp_path / "scan" / "enhanced.dcm"
            dicom_files.write_enhanced(path, dicom_files.ramp(), affine, **options)
        return series.read(tmp_path / "scan")

    return read


def write(folder, mask_ijk, like):
    path = folder / "seg.dcm"
    segmentation.write(path, mask_ijk, like, "spleen_any", "1.2.0")
    return path


def places_mm(mask_ijk, affine):
    """The places of the voxels inside, sorted."""
    inside = np.argwhere(mask_ijk)
    places = inside @ affine[:3, :3].T + affine[:3, 3]
    return np.array(sorted(np.round(places, 3).tolist()))


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
@pytest.mark.parametrize("plane", dicom_files.PLANES)
def test_highdicom_finds_every_voxel_where_the_mask_has_it(tmp_path, read_series, plane, kind):
    image = read_series(kind, plane)
    path = write(tmp_path, mask_of(), image)
    found = highdicom.seg.segread(path).get_volume(combine_segments=True)
    theirs = places_mm(found.array, dicom_files.LPS @ found.affine)
    np.testing.assert_allclose(theirs, places_mm(mask_of(), image.affine), atol=2e-3)
    assert np.count_nonzero(found.array) == 3 * 2 * 2 + 1


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_every_frame_refers_to_the_image_that_it_lies_on(tmp_path, read_series, kind):
    """Read with pydicom alone."""
    image = read_series(kind)
    seg = pydicom.dcmread(write(tmp_path, mask_of(), image))
    slices = {}
    for k, frame in enumerate(image.header.frames):
        instance = pydicom.dcmread(frame.path).SOPInstanceUID
        slices[instance, frame.index + 1 if kind == "enhanced" else None] = k
    drawn = np.zeros_like(mask_of())
    for pixels, group in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        k = slices[source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber")]
        drawn[..., k] = pixels.T
        place = group.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(place, image.header.frames[k].position_mm)
    np.testing.assert_array_equal(drawn, mask_of())
    referenced = seg.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == dicom_files.SERIES_UID
    assert len(referenced.ReferencedInstanceSequence) == len(image.header.paths)


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_an_empty_mask_is_written_with_all_frames(tmp_path, read_series, kind):
    path = write(tmp_path, np.zeros((8, 6, 5), bool), read_series(kind))
    seg = highdicom.seg.segread(path)
    assert (seg.NumberOfFrames, seg.number_of_segments) == (5, 1)
    found = seg.get_volume(combine_segments=True)
    assert found.array.shape == (5, 6, 8)
    assert not found.array.any()


def test_it_says_spleen_in_codes_and_which_model_drew_it(tmp_path, read_series):
    seg = pydicom.dcmread(write(tmp_path, mask_of(), read_series()))
    assert seg.SOPClassUID == uid.SegmentationStorage
    assert (seg.Modality, seg.SegmentationType, seg.BitsAllocated) == ("SEG", "BINARY", 1)
    segment = seg.SegmentSequence[0]
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("78961009", "SCT")
    category = segment.SegmentedPropertyCategoryCodeSequence[0]
    assert (category.CodeValue, category.CodeMeaning) == ("91723000", "Anatomical Structure")
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("spleen_any", "1.2.0")


def test_it_belongs_to_the_images_patient_and_study(tmp_path, read_series):
    image = read_series()
    seg = pydicom.dcmread(write(tmp_path, mask_of(), image))
    source = pydicom.dcmread(image.header.paths[0])
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword].value == source[keyword].value
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID


def test_a_name_of_many_members_is_cut_to_what_the_standard_holds(tmp_path, read_series):
    segmentation.write(tmp_path / "seg.dcm", mask_of(), read_series(), "x" * 200, "1" * 200)
    segment = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence[0]
    assert segment.SegmentAlgorithmName == "x" * 64


def without(*keywords):
    def change(k, dataset):
        for keyword in keywords:
            delattr(dataset, keyword)

    return change


def as_text(**elements):
    """A change of elements to texts, which may break their value representation."""

    def change(k, dataset):
        for keyword, text in elements.items():
            vr = "PN" if keyword == "PatientName" else "LO"
            dataset[keyword] = DataElement(keyword, vr, text, validation_mode=config.IGNORE)

    return change


def test_anonymized_images_that_lack_what_may_be_empty_are_taken(tmp_path, read_series):
    lost = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID")
    lost += ("AccessionNumber", "StudyDate", "StudyTime", "ReferringPhysicianName")
    image = read_series(change=without(*lost))
    seg = pydicom.dcmread(write(tmp_path, mask_of(), image))
    assert not seg.PatientName
    assert seg.NumberOfFrames == 3  # Slices 1, 2 and 4.


def test_images_without_a_frame_of_reference_are_refused(tmp_path, read_series):
    image = read_series(change=without("FrameOfReferenceUID"))
    with pytest.raises(InputError, match=r"IM\d+: expected FrameOfReferenceUID \(0020,0052\) "):
        sources.check(image, "--dicom_seg")


# Elements as anonymizers and archives leave them, and what stands in the segmentation.
ODD_ELEMENTS = {
    "StudyDate": [("JANEDOE1", ""), ("2020.01.02", "20200102"), ("", "")],
    "StudyTime": [("10:20:30", "102030"), ("101010.123456789", "101010.123456"), ("noon", "")],
    "PatientBirthDate": [("XXXXXXXX", ""), ("19470811", "19470811")],
    "PatientSex": [("U", ""), ("F", "F"), ("female", "")],
    "PatientAge": [("45", None), ("045Y", "045Y")],
    "PatientID": [("P" * 70, "P" * 70), ("A\\B", "A"), ("", "")],
    "PatientName": [("Bono", "Bono"), ("DOE^JANE", "DOE^JANE"), ("", "")],
    "StudyID": [("I" * 20, "I" * 20)],
    "AccessionNumber": [("N" * 20, "N" * 20)],
    "ReferringPhysicianName": [("Who", "Who")],
    "StudyInstanceUID": [("1.2.06.7", "1.2.06.7"), ("no UID", "no UID")],
    "SeriesNumber": [("x", "7700"), ("", "7700")],
    "SliceThickness": [("thin", None), ("", None), ("-3", None)],
    "SpacingBetweenSlices": [("wide", None), ("", None)],
    "PositionReferenceIndicator": [("XY", ""), ("", "")],
    "Laterality": [("both", None)],
    "Manufacturer": [("", "spleen_tf")],
    "Modality": [("", "SEG"), ("OT", "SEG")],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [(keyword, *pair) for keyword, pairs in ODD_ELEMENTS.items() for pair in pairs],
)
def test_odd_elements_do_not_keep_the_segmentation_from_being_written(
    tmp_path, read_series, keyword, value, expected
):
    image = read_series(change=as_text(**{keyword: value}))
    seg = pydicom.dcmread(write(tmp_path, mask_of(), image))
    assert seg.NumberOfFrames == 3
    assert str(seg.get(keyword, None)) == str(expected)


def test_values_that_break_the_standard_are_named_and_not_quoted(tmp_path, read_series):
    image = read_series(change=as_text(StudyDate="JANEDOE1", PatientSex="JANE"))
    with pytest.warns(InputWarning) as caught:
        write(tmp_path, mask_of(), image)
    (message,) = [str(w.message) for w in caught if w.category is InputWarning]
    assert re.search("IM.*: the values of StudyDate .*, PatientSex .0010,0040. break", message)
    assert "JANE" not in message


@pytest.mark.parametrize(
    "keyword",
    [
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate"),
        *("StudyTime", "AccessionNumber", "ReferringPhysicianName", "SeriesNumber"),
        *("SliceThickness", "PositionReferenceIndicator", "Manufacturer", "Modality"),
        *("ImageType", "InstanceNumber", "PhotometricInterpretation"),
    ],
)
def test_a_segmentation_is_written_without_any_one_element(tmp_path, read_series, keyword):
    image = read_series(change=without(keyword))
    assert pydicom.dcmread(write(tmp_path, mask_of(), image)).NumberOfFrames == 3


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_images_without_a_uid_that_is_referred_to_are_refused(tmp_path, read_series, keyword):
    image = read_series(change=without(keyword))
    with pytest.raises(InputError, match=rf"IM\d+: expected {keyword} \(0020,.* for --dicom_seg"):
        sources.check(image, "--dicom_seg")


def test_slices_of_one_instance_uid_are_refused(read_series):
    image = read_series(SOPInstanceUID="1.2.3.4")
    with pytest.raises(InputError, match=r"expected SOPInstanceUID \(0008,0018\) of its own for"):
        sources.check(image, "--dicom_seg")


@pytest.mark.parametrize(
    ("character_sets", "name"),
    [
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 100", "Müller^André"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_a_name_survives_whatever_its_character_set(tmp_path, read_series, character_sets, name):
    """The first of several character sets may be empty (PS3.3 C.12.1.1.2)."""
    image = read_series(SpecificCharacterSet=character_sets, PatientName=name)
    assert pydicom.dcmread(image.header.paths[0]).PatientName == name
    seg = pydicom.dcmread(write(tmp_path, mask_of(), image))
    assert seg.PatientName == name
    assert seg.SpecificCharacterSet == "ISO_IR 192"


def test_a_name_in_latin_letters_that_no_character_set_declares_survives(tmp_path, read_series):
    image = read_series(PatientName="MxxB^RxxE")
    for path in map(pathlib.Path, image.header.paths):
        path.write_bytes(path.read_bytes().replace(b"MxxB^RxxE", b"M\xfcxB^R\xe9xE"))
    seg = pydicom.dcmread(write(tmp_path, mask_of(), image))
    assert seg.PatientName == "MüxB^RéxE"


GB2312 = "张^小东".encode("gb2312")


@pytest.mark.parametrize(
    ("character_sets", "content", "name"),
    [
        (["", "ISO 2022 IR 58"], b"Zhang=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "Zhang=张^小东"),
        (["", "ISO 2022 IR 58"], b"Zhang=" + GB2312, "Zhang=张^小东"),
        (None, "Müller^王".encode(), "Müller^王"),
        ("iso_ir 192", "Müller^王".encode(), "Müller^王"),
        ("ISO_IR 100", "Müller^René".encode(), "Müller^René"),
        ("ISO_IR 192", "Müller^René".encode("latin-1"), "Müller^René"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_a_name_survives_a_character_set_that_does_not_fit_it(
    tmp_path, read_series, character_sets, content, name
):
    """The bytes are put into the files, since pydicom would encode a name as is declared."""
    content += b" " * (len(content) % 2)
    placeholder = "A" * len(content)
    declared = {"SpecificCharacterSet": character_sets} if character_sets else {}
    image = read_series(PatientName=placeholder, **declared)
    for path in map(pathlib.Path, image.header.paths):
        path.write_bytes(path.read_bytes().replace(placeholder.encode(), content))
    if isinstance(character_sets, str) and character_sets.startswith("ISO"):
        with pytest.warns(
            InputWarning, match=r"SpecificCharacterSet \(0008,0005\) does not fit the b"
        ):
            seg = pydicom.dcmread(write(tmp_path, mask_of(), image))
    else:
        seg = pydicom.dcmread(write(tmp_path, mask_of(), image))
    assert seg.PatientName == name


def test_the_thickness_is_the_distance_of_slices(tmp_path, read_series):
    """Where the series says another one, or none: highdicom's geometry depends on it."""
    image = read_series(change=without("SliceThickness"))
    seg = highdicom.seg.segread(write(tmp_path, mask_of(), image))
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (5, 5)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_enhanced_files_of_one_frame_each_are_referred_to_by_their_class(tmp_path, modality):
    for k in range(3):
        affine = dicom_files.affine_of(origin_lps_mm=(-90.0, 40.0, 700.0 + 5 * k))
        one = dicom_files.ramp()[..., k : k + 1]
        dicom_files.write_enhanced(tmp_path / "scan" / f"{k}.dcm", one, affine, modality)
    image = series.read(tmp_path / "scan")
    np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp()[..., :3])
    seg = pydicom.dcmread(write(tmp_path, mask_of()[..., :3], image))
    expected = {"CT": uid.EnhancedCTImageStorage, "MR": uid.EnhancedMRImageStorage}[modality]
    classes = {
        item.ReferencedSOPClassUID
        for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert classes == {expected}
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 3


def test_directions_that_differ_by_rounding_are_taken(tmp_path, read_series):
    """highdicom wants them the same to the last digit."""

    def rounded(k, dataset):
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 1e-5 * k]

    image = read_series(change=rounded)
    assert pydicom.dcmread(write(tmp_path, mask_of(), image)).NumberOfFrames == 3


def test_a_series_of_several_multi_frame_files_is_refused(tmp_path):
    affine = dicom_files.affine_of()
    dicom_files.write_enhanced(tmp_path / "a.dcm", dicom_files.ramp(), affine)
    affine[2, 3] += 25  # Behind the first five slices of 5 mm.
    dicom_files.write_enhanced(tmp_path / "b.dcm", dicom_files.ramp(), affine)
    image = series.read(tmp_path)
    assert image.shape == (8, 6, 10)
    with pytest.raises(InputError, match="found 2 multi-frame files"):
        sources.check(image, "--dicom_seg")


def test_a_volume_that_is_not_dicom_is_refused():
    image = Volume(dicom_files.ramp(), np.eye(4), "scan.nii.gz")
    with pytest.raises(InputError, match=r"scan\.nii\.gz: expected DICOM for --dicom_seg, found N"):
        sources.check(image, "--dicom_seg")


def test_a_mask_of_another_shape_is_refused(tmp_path, read_series):
    with pytest.raises(InputError, match=r"expected a mask of shape \(8, 6, 5\), found \(6, 8, 5"):
        write(tmp_path, mask_of().transpose(1, 0, 2), read_series())


def test_a_full_disk_leaves_the_earlier_file(tmp_path, read_series, no_room):
    image = read_series()
    path = write(tmp_path, mask_of(), image)
    before = path.read_bytes()
    with no_room(), pytest.raises(InputError, match=r"seg\.dcm: expected a place to write to"):
        write(tmp_path, mask_of(), image)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan", "seg.dcm"]
