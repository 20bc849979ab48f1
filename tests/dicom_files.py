"""DICOM series for the tests: written whole by pydicom, from tiny arrays.

Arrays are (column, row, slice), affines go from those indices to RAS+ mm. File names and instance
numbers are in an order that has nothing to do with that of the slices.
"""

import pathlib
import tempfile

import gdcm
import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
STUDY_UID, SERIES_UID, FRAME_UID = (f"1.2.826.0.1.3680043.8.498.{n}" for n in (1, 2, 3))

# Directions in LPS of a row and of a column; slices follow one another along their cross product.
PLANES = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    # Turned by 0.3 about the third axis, then by 0.2 about the first.
    "oblique": (
        (np.cos(0.3), np.sin(0.3) * np.cos(0.2), np.sin(0.3) * np.sin(0.2)),
        (-np.sin(0.3), np.cos(0.3) * np.cos(0.2), np.cos(0.3) * np.sin(0.2)),
    ),
}


def affine_of(plane="axial", zooms_mm=(0.8, 0.7, 5.0), origin_lps_mm=(-90.0, 40.0, 700.0)):
    """From (column, row, slice) to RAS+ mm; `plane` is one of PLANES, or such a pair."""
    row, column = np.array(PLANES[plane] if isinstance(plane, str) else plane, float)
    affine = np.eye(4)
    affine[:3, :3] = np.transpose([row, column, np.cross(row, column)]) * zooms_mm
    affine[:3, 3] = origin_lps_mm
    return LPS @ affine


def ramp(shape=(8, 6, 5), dtype=np.int16):
    """100 i + 10 j + k."""
    i, j, k = np.indices(shape)
    return (100 * i + 10 * j + k).astype(dtype)


def write_series(folder, stored_ijk, affine=None, modality="CT", change=None, **elements):
    """Writes a classic series, a file a slice.

    Args:
        folder: for the files.
        stored_ijk: as they stand in the files; their dtype says bits and sign.
        affine: of the volume.
        modality: 'CT' or 'MR'.
        change: called with each slice's index and its dataset before that is written.
        elements: of every file.

    Returns:
        The paths, in the order of the slices.
    """
    affine = affine_of() if affine is None else affine
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    count = stored_ijk.shape[2]
    numbers = np.random.default_rng(7).permutation(count)
    paths = []
    for k in range(count):
        dataset = _common(stored_ijk, modality, uid.CTImageStorage, uid.MRImageStorage)
        dataset.InstanceNumber = int(numbers[k]) + 1
        dataset.ImagePositionPatient = _decimals(_position(affine, k))
        dataset.ImageOrientationPatient = _decimals(_directions(affine))
        dataset.PixelSpacing = _decimals(_spacing(affine))
        dataset.SliceThickness = _decimals([np.linalg.norm(affine[:3, 2])])[0]
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
        dataset.PixelData = stored_ijk[..., k].T.tobytes()
        paths.append(_save(folder / f"IM{numbers[k]:04d}", dataset, k, change, elements))
    return paths


def write_enhanced(path, stored_ijk, affine=None, modality="MR", change=None, **elements):
    """Writes one multi-frame file, whose frames are in an order of their own; see write_series."""
    affine = affine_of() if affine is None else affine
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    count = stored_ijk.shape[2]
    order = np.random.default_rng(7).permutation(count)
    dataset = _common(stored_ijk, modality, uid.EnhancedCTImageStorage, uid.EnhancedMRImageStorage)
    dataset.NumberOfFrames = count
    dataset.InstanceNumber = 1
    shared = Dataset()
    shared.PixelMeasuresSequence = [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = _decimals(_spacing(affine))
    shared.PixelMeasuresSequence[0].SliceThickness = "5"
    shared.PlaneOrientationSequence = [Dataset()]
    directions = _decimals(_directions(affine))
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = directions
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [_groups(affine, int(k)) for k in order]
    organization = Dataset()
    organization.DimensionOrganizationUID = SERIES_UID + ".9"
    dataset.DimensionOrganizationSequence = [organization]
    pointer = Dataset()
    pointer.DimensionOrganizationUID = SERIES_UID + ".9"
    pointer.DimensionIndexPointer = 0x00209057
    pointer.FunctionalGroupPointer = 0x00209111
    dataset.DimensionIndexSequence = [pointer]
    dataset.PixelData = b"".join(stored_ijk[..., k].T.tobytes() for k in order)
    return _save(path, dataset, None, change, elements)


def _by_gdcm(syntax):
    """A change of a dataset's encoding by GDCM: pydicom has no encoder for JPEG."""

    def encode(dataset):
        with tempfile.TemporaryDirectory() as folder:
            path = str(pathlib.Path(folder, "slice"))
            pydicom.dcmwrite(path, dataset, enforce_file_format=True)
            reader, change = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax()
            reader.SetFileName(path)
            assert reader.Read()
            change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
            change.SetInput(reader.GetImage())
            assert change.Change()
            writer = gdcm.ImageWriter()
            writer.SetFileName(path)
            writer.SetFile(reader.GetFile())
            writer.SetImage(change.GetOutput())
            assert writer.Write()
            encoded = pydicom.dcmread(path)
        dataset.PixelData = encoded.PixelData
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = encoded.file_meta.TransferSyntaxUID

    return encode


# Compressing a dataset in place, without loss. JPEG 2000's encoder takes no fewer than 32 rows.
ENCODINGS = {
    "RLE": lambda dataset: dataset.compress(uid.RLELossless, generate_instance_uid=False),
    "JPEG-LS": lambda dataset: dataset.compress(uid.JPEGLSLossless, generate_instance_uid=False),
    "JPEG 2000": lambda d: d.compress(uid.JPEG2000Lossless, generate_instance_uid=False),
    "JPEG lossless": _by_gdcm(gdcm.TransferSyntax.JPEGLosslessProcess14_1),
    "JPEG lossless, any predictor": _by_gdcm(gdcm.TransferSyntax.JPEGLosslessProcess14),
}
# With loss: of values that grow by the same step, at most one unit.
LOSSY_ENCODINGS = {
    "JPEG baseline": (8, _by_gdcm(gdcm.TransferSyntax.JPEGBaselineProcess1)),
    "JPEG extended, 12 bits": (12, _by_gdcm(gdcm.TransferSyntax.JPEGExtendedProcess2_4)),
}


def _groups(affine, k):
    group = Dataset()
    group.PlanePositionSequence = [Dataset()]
    group.PlanePositionSequence[0].ImagePositionPatient = _decimals(_position(affine, k))
    group.FrameContentSequence = [Dataset()]
    group.FrameContentSequence[0].DimensionIndexValues = k + 1
    group.FrameContentSequence[0].InStackPositionNumber = k + 1
    group.FrameContentSequence[0].StackID = "1"
    group.PixelValueTransformationSequence = [Dataset()]
    group.PixelValueTransformationSequence[0].RescaleSlope = "1"
    group.PixelValueTransformationSequence[0].RescaleIntercept = "0"
    group.PixelValueTransformationSequence[0].RescaleType = "US"
    return group


def _common(stored_ijk, modality, ct_class, mr_class):
    dataset = Dataset()
    dataset.SOPClassUID = ct_class if modality == "CT" else mr_class
    dataset.SOPInstanceUID = uid.generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY_UID, SERIES_UID
    dataset.FrameOfReferenceUID = FRAME_UID
    dataset.PatientName, dataset.PatientID = "Test^Patient", "T1"
    dataset.PatientBirthDate, dataset.PatientSex = "", "O"
    dataset.StudyID, dataset.AccessionNumber, dataset.SeriesNumber = "S1", "A1", 3
    dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName = "20200102", "120000", ""
    dataset.Manufacturer = "Maker"
    dataset.Modality = modality
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "M"]
    dataset.PositionReferenceIndicator = ""
    dataset.Columns, dataset.Rows = stored_ijk.shape[:2]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * stored_ijk.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored_ijk.dtype.kind == "i")
    return dataset


def _save(path, dataset, k, change, elements):
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if change:
        change(*(() if k is None else (k,)), dataset)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def _position(affine, k):
    return (LPS @ affine @ [0, 0, k, 1])[:3]


def _directions(affine):
    columns = (LPS @ affine)[:3, :2]
    return (columns / np.linalg.norm(columns, axis=0)).T.ravel()


def _spacing(affine):
    """Between rows, between columns."""
    return np.linalg.norm(affine[:3, [1, 0]], axis=0)


def _decimals(numbers):
    """Of at most 16 characters, as VR DS has them (PS3.5 6.2)."""
    return [pydicom.valuerep.format_number_as_ds(float(number)) for number in numbers]
