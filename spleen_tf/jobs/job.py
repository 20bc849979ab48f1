"""A job: one volume, and the files that are written for it."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping

from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.volume import Geometry
from spleen_tf.inference import prediction
from spleen_tf.inference.prediction import PredictionRecord
from spleen_tf.io import nifti
from spleen_tf.jobs import bids


@dataclasses.dataclass(frozen=True)
class Job:
    """One volume and the files that are written for it.

    Attributes:
        source: the volume's file, or its DICOM folder.
        mask: the mask's file.
        others: by kind, one of outputs.SUFFIXES, the other files that were asked for.
        series_uid: the SeriesInstanceUID that was asked for; None: the only series.
        modality: of the volume, where the user or a data set says it.
        geometry: what the volume's headers say, where they are read already.
        bids_uri: of the source, where the mask belongs to a BIDS derivative.
    """

    source: pathlib.Path
    mask: pathlib.Path
    others: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    series_uid: str | None = None
    modality: Modality | None = None
    geometry: Geometry | None = dataclasses.field(default=None, compare=False)
    bids_uri: str | None = None

    @property
    def case(self) -> str:
        """The case's name, as text that can be shown and written anywhere."""
        return nifti.case(self.mask)

    @property
    def json(self) -> pathlib.Path:
        """The JSON beside the mask."""
        return nifti.sidecar(self.mask)

    @property
    def outputs(self) -> list[pathlib.Path]:
        """All files that are written."""
        return [self.mask, self.json, *self.others.values()]

    def result(self) -> PredictionRecord | None:
        """The content of the JSON, if all outputs are there from an earlier run; else None.

        Raises:
            InputError: if the JSON is none.
        """
        if not self.json.is_file():
            return None
        record = prediction.read(self.json)
        if record is None:
            return None
        # Of an empty mask there is no surface.
        needed = [path for kind, path in self.others.items() if kind != "mesh" or record.voxels]
        return record if all(path.is_file() for path in (self.mask, *needed)) else None

    def write_record(self, record: PredictionRecord) -> None:
        """Writes the JSON, whole or not at all.

        Raises:
            InputError: if it cannot be written.
        """
        content = bids.Sidecar.of(record, self.bids_uri) if self.bids_uri else record
        prediction.write(self.json, content)
