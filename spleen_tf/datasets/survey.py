"""A look at the cases of a data set: geometry, intensities, spleens, and what is odd about them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.datasets import fingerprint, gate
from spleen_tf.datasets.layouts import Case
from spleen_tf.imaging import intensity, planes
from spleen_tf.imaging.intensity import Modality, ModelModality
from spleen_tf.imaging.planes import Plane
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import readers
from spleen_tf.quality import measurements

# Organs are not waisted like that; labels with slices left out are.
_GAP_SHARE = 0.1
_SAMPLED_VOXELS = 20_000


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Columns of dataset.csv for a case that can be read.

    Attributes:
        modality: as the data set says.
        shape, zooms_mm: along i, j, k, with an x between.
        orientation: three letters such as 'RAS': where i, j, k increase to.
        bits_per_voxel, stored_as, space_unit, time_unit: see readers.storage.
        lowest, highest: intensity.
        spleen_mm3: the label's volume.
        spleen_slices: of the plane, those that show spleen.
        touches_edge: whether the label touches the volume's edge.
    """

    modality: Modality
    shape: str
    zooms_mm: str
    orientation: str
    bits_per_voxel: int | str
    stored_as: int | str
    space_unit: int | str
    time_unit: int | str
    lowest: float
    highest: float
    spleen_mm3: float
    spleen_slices: int
    touches_edge: bool


@dataclasses.dataclass(frozen=True, eq=False)
class CaseSurvey:
    """What is seen of one case.

    Attributes:
        case: its name.
        measured: None where the case cannot be read.
        profile: what the fingerprint needs; None likewise.
        look: what the gate of a conversion sees; None likewise.
        oddities: each in a phrase; of a case that cannot be read, why.
        outlier: whether the spleen's volume is out of line with the others'.
        sample: (n,) intensities of a regular sample of the image's voxels.
        window: the intensities that a picture of it shows as black and white.
    """

    case: str
    measured: Measured | None
    profile: fingerprint.CaseProfile | None
    oddities: tuple[str, ...]
    look: gate.Look | None = None
    outlier: bool = False
    sample: NDArray[Any] = dataclasses.field(default_factory=lambda: np.zeros(0))
    window: tuple[float, float] = (0.0, 1.0)

    def row(self) -> dict[str, object]:
        """The case's line of dataset.csv."""
        measured = msgspec.structs.asdict(self.measured) if self.measured else {}
        return {
            "case": self.case,
            **measured,
            "outlier": self.outlier,
            "why": "; ".join(self.oddities),
        }


def survey(case: Case, image: Volume, label: Volume, plane: Plane) -> CaseSurvey:
    """Looks at a case that was read (see cases.read).

    Args:
        case: which.
        image: in physical units.
        label: on the same grid, above 0 inside.
        plane: whose slices are counted.
    """
    inside = label.array_ijk > 0
    spleen = measurements.measure(image, inside)
    labels_nhw = planes.split(inside, image.affine, plane)
    measured = Measured(
        modality=case.modality,
        shape="x".join(map(str, image.shape)),
        zooms_mm="x".join(f"{mm:.4g}" for mm in image.zooms_mm),
        orientation=image.orientation,
        **readers.storage(image),
        lowest=float(image.array_ijk.min()),
        highest=float(image.array_ijk.max()),
        spleen_mm3=round(spleen.volume_mm3, 1),
        spleen_slices=int(labels_nhw.any(axis=(1, 2)).sum()),
        touches_edge=spleen.complete is False,
    )
    step = max(1, image.array_ijk.size // _SAMPLED_VOXELS)
    return CaseSurvey(
        case.name,
        measured,
        fingerprint.CaseProfile.of(image, inside, case.modality),
        (*_modality_oddities(image, case.modality), *_label_oddities(image, inside)),
        look=gate.look_at(case, image, inside, spleen),
        sample=image.array_ijk.ravel("K")[::step].copy(),
        window=intensity.default_window(image.array_ijk, case.modality),
    )


def unreadable(case: Case, error: InputError) -> CaseSurvey:
    """What is seen of a case whose image or label is damaged, or on another grid."""
    return CaseSurvey(case.name, None, None, (str(error),))


def mark_outliers(
    surveys: Sequence[CaseSurvey], max_volume_mm3: float | None = None
) -> list[CaseSurvey]:
    """Adds to each case what a conversion would warn of, and whether its spleen's volume is odd.

    Volumes vary by factors, so that their logarithms are compared: an outlier's modified z-score
    (see gate.modified_z_scores) is beyond 3.5.

    Args:
        surveys: of all cases; those without spleen do not count.
        max_volume_mm3: a larger spleen is an outlier in any case.
    """
    mm3_of = {s.case: s.measured.spleen_mm3 for s in surveys if s.measured and _has_spleen(s)}
    scores = gate.modified_z_scores([math.log(mm3) for mm3 in mm3_of.values()])
    score_of = dict(zip(mm3_of, scores, strict=True))
    findings = gate.findings([one.look for one in surveys if one.look])
    marked = []
    for one in surveys:
        why: list[str] = []
        if one.case in mm3_of:
            mm3, score = mm3_of[one.case], score_of[one.case]
            if abs(score) > gate.OUTLIER_SCORE:
                size = "large" if score > 0 else "small"
                why.append(
                    f"outlier: {mm3:,.0f} mm3 is unusually {size}, modified z-score {score:.1f}"
                )
            if max_volume_mm3 and mm3 > max_volume_mm3:
                why.append(f"outlier: {mm3:,.0f} mm3 is above {max_volume_mm3:,.0f}")
        oddities = (*one.oddities, *findings.get(one.case, ()), *why)
        marked.append(dataclasses.replace(one, outlier=bool(why), oddities=oddities))
    return marked


def intensities(surveys: Sequence[CaseSurvey], modality: ModelModality) -> dict[str, NDArray[Any]]:
    """(n,) values of all images, and of all spleens: HU for CT, else on each picture's grey scale.

    Args:
        surveys: with at least one case that can be read.
        modality: of the data set.
    """

    def scaled(values: NDArray[Any], window: tuple[float, float]) -> NDArray[Any]:
        if modality == "CT":
            return values
        low, high = window
        # Beyond the grey scale, metal and air would stretch the axis.
        return np.clip((values.astype(np.float32) - low) / (high - low), -0.25, 1.25)

    pairs = [(s, s.profile.spleen_values) for s in surveys if s.profile is not None]
    return {
        "whole image": np.concatenate([scaled(s.sample, s.window) for s, _ in pairs]),
        "inside the spleen": np.concatenate([scaled(values, s.window) for s, values in pairs]),
    }


def _has_spleen(one: CaseSurvey) -> bool:
    return one.measured is not None and one.measured.spleen_mm3 > 0


def _modality_oddities(image: Volume, modality: Modality) -> list[str]:
    """Whether header or intensities speak against what the data set says."""
    odd = []
    if image.modality not in (modality, None):
        odd.append(f"modality: the data set says {modality}, its header {image.modality}")
    is_hounsfield = intensity.is_hounsfield(image.array_ijk)
    lowest = float(intensity.percentiles(image.array_ijk, (intensity.LOWEST_PERCENTILE,))[0])
    if modality == "CT" and not is_hounsfield:
        odd.append(
            f"modality: the data set says CT, but the image has no air: its darkest voxels are at "
            f"{lowest:g}, and air is at -1000 HU; is it an MR, or not in Hounsfield units?"
        )
    if modality == "MR" and is_hounsfield:
        odd.append(
            f"modality: the data set says MR, but the image's darkest voxels are at {lowest:g}, "
            "like air in a CT; is it a CT, or stored with an offset?"
        )
    return odd


def _label_oddities(image: Volume, inside_ijk: NDArray[Any]) -> list[str]:
    """What is odd about a label beside what the gate sees."""
    if not inside_ijk.any():
        return ["no spleen in its label"]
    axis = int(np.argmax(image.zooms_mm))
    gaps = _gaps(np.moveaxis(inside_ijk, axis, 0))
    if not gaps.size:
        return []
    named = files.listed(gaps.tolist(), 5)
    return [
        f"the label almost vanishes at {'ijk'[axis]} = {named} (counted from 0), between slices "
        "with much more of it"
    ]


def _gaps(slices_nhw: NDArray[Any]) -> NDArray[Any]:
    """(M,) int: slices in which a label almost vanishes between larger ones."""
    areas = np.count_nonzero(slices_nhw, axis=(1, 2))
    before, after = np.maximum.accumulate(areas), np.maximum.accumulate(areas[::-1])[::-1]
    return np.flatnonzero(areas < _GAP_SHARE * np.minimum(before, after))
