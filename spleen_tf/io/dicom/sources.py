"""The images of a series as other objects refer to them, and what those repeat of their header."""

from __future__ import annotations

import dataclasses

from pydicom import config, uid
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from spleen_tf.imaging.volume import Geometry, Volume, VolumeError
from spleen_tf.io.dicom import elements, streams, study
from spleen_tf.io.dicom.frames import Frame, ImageFile
from spleen_tf.io.dicom.stack import Stack

# What an image must have for another object to refer to it (PS3.3 C.7.3.1, C.7.4.1, C.12.1).
_REFERRED_BY = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


@dataclasses.dataclass(frozen=True)
class Sources:
    """The images that a new object belongs to.

    Attributes:
        shared: the elements of patient and study in Unicode, and the UIDs of study, series and
            frame of reference.
        frames: the slices.
        spacing_mm: between slices.
        flag: of the output that is to be written, for messages.
    """

    shared: Dataset
    frames: tuple[Frame, ...]
    spacing_mm: float
    flag: str

    @property
    def files(self) -> list[ImageFile]:
        """The files, each once, in the order of the slices."""
        return _files(self.frames)

    @property
    def frame_order(self) -> list[int]:
        """The slices' indices in the order in which `images` has them."""
        if len(self.files) > 1:
            return list(range(len(self.frames)))
        return sorted(range(len(self.frames)), key=lambda k: self.frames[k].index)

    def references(self) -> list[Dataset]:
        """A dataset per file with patient, study, and the UIDs by which it is referred to."""
        return [_common(self.shared, file) for file in self.files]

    def images(self) -> list[Dataset]:
        """A dataset per file with all that highdicom reads of a source image.

        Files of one frame each are of a classic class, whatever theirs is: see `refer_to_class`.
        """
        ordered = [self.frames[k] for k in self.frame_order]
        if len(self.files) == 1:
            return [_multi_frame(self.shared, ordered, self.spacing_mm)]
        return [_classic(self.shared, frame, ordered[0], self.spacing_mm) for frame in ordered]


def check(image: Volume | Geometry, flag: str) -> None:
    """Raises VolumeError unless another object can refer to what a volume was read from.

    Args:
        image: what `series.read` or `series.read_geometry` gave.
        flag: of the output that is to be written, for the message.
    """
    slices = image.header
    if not isinstance(slices, Stack):
        raise VolumeError(f"{image.source}: expected DICOM for {flag}, found NIfTI.")
    files = _files(slices.frames)
    if len(files) not in (1, len(slices.frames)):
        raise VolumeError(
            f"{image.source}: expected one file per slice or one multi-frame file for {flag}, "
            f"found {len(files)} multi-frame files."
        )
    uids = set[str]()
    for file in files:
        if not file.instance_uid or file.instance_uid in uids:
            raise elements.refusal(
                file.path,
                f"{elements.name('SOPInstanceUID')} of its own for {flag}",
                "that of another slice" if file.instance_uid else "none",
                f"export the series again, or leave out {flag}",
            )
        uids.add(file.instance_uid)
    _series_uids(files[0].path, flag)


def sources_of(image: Volume, flag: str) -> Sources:
    """The images of a volume.

    Args:
        image: what `series.read` gave.
        flag: as in `check`.

    Raises:
        VolumeError: as `check` does.
    """
    check(image, flag)
    slices = image.header
    assert isinstance(slices, Stack)
    shared = study.elements_of(slices.paths[0])
    for keyword, value in _series_uids(slices.paths[0], flag).items():
        shared[keyword] = DataElement(keyword, "UI", value, validation_mode=config.IGNORE)
    return Sources(shared, slices.frames, float(image.zooms_mm[2]), flag)


def refer_to_class(written: Dataset, sop_class: str) -> None:
    """Puts the class of the images into all references to them."""

    def correct(dataset: Dataset, element: DataElement) -> None:
        if element.keyword == "ReferencedSOPClassUID":
            element.value = sop_class

    written.walk(correct)


def _files(frames: tuple[Frame, ...]) -> list[ImageFile]:
    return list(dict.fromkeys(frame.file for frame in frames))


def _series_uids(path: str, flag: str) -> dict[str, str]:
    """The UIDs by which an object refers to a series, of one of its files."""
    with streams.readable(path) as stream:
        dataset = streams.parsed(stream, path, _REFERRED_BY)
    uids = {keyword: elements.text(dataset, keyword, path) for keyword in _REFERRED_BY}
    for keyword, value in uids.items():
        if not value:
            raise elements.refusal(
                path,
                f"{elements.name(keyword)} for {flag}",
                "none",
                f"export the series with it, or leave out {flag}",
            )
    return uids


def _classic(shared: Dataset, frame: Frame, first: Frame, spacing_mm: float) -> Dataset:
    """A slice as highdicom wants it: with all that it reads, however odd the file itself is."""
    source = _common(shared, frame.file)
    source.SOPClassUID = uid.CTImageStorage
    source.ImagePositionPatient = _decimals(frame.position_mm)
    # highdicom wants these the same in all slices; that they agree but for rounding is checked.
    source.ImageOrientationPatient = _decimals(first.directions)
    source.PixelSpacing = _decimals(first.pixel_mm)
    source.SliceThickness = source.SpacingBetweenSlices = format_number_as_ds(spacing_mm)
    return source


def _multi_frame(shared: Dataset, frames: list[Frame], spacing_mm: float) -> Dataset:
    """A multi-frame file as highdicom wants it, its frames in the order of the file."""
    source = _common(shared, frames[0].file)
    source.NumberOfFrames = len(frames)
    measures, orientation, groups = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = _decimals(frames[0].pixel_mm)
    measures.SliceThickness = measures.SpacingBetweenSlices = format_number_as_ds(spacing_mm)
    orientation.ImageOrientationPatient = _decimals(frames[0].directions)
    groups.PixelMeasuresSequence, groups.PlaneOrientationSequence = [measures], [orientation]
    source.SharedFunctionalGroupsSequence = [groups]
    source.PerFrameFunctionalGroupsSequence = []
    for frame in frames:
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient = _decimals(frame.position_mm)
        group.PlanePositionSequence = [position]
        source.PerFrameFunctionalGroupsSequence.append(group)
    return source


def _common(shared: Dataset, file: ImageFile) -> Dataset:
    source = Dataset()
    source.update(shared)  # A copy of it would share its elements' dictionary.
    source.SOPClassUID, source.SOPInstanceUID = file.sop_class, file.instance_uid
    source.Rows, source.Columns = file.shape
    source.PositionReferenceIndicator = ""
    return source


def _decimals(numbers: tuple[float, ...]) -> list[str]:
    """Of at most 16 characters, as value representation DS has them (PS3.5 6.2)."""
    return [format_number_as_ds(number) for number in numbers]
