"""One volume from file to files: reads it, segments it, and writes all that was asked for."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Sequence

from spleen_tf.core import files, locks, timing
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.volume import Geometry, Volume
from spleen_tf.inference import family as families
from spleen_tf.inference import modality, released
from spleen_tf.inference.config import PredictConfig
from spleen_tf.inference.engine import Engine
from spleen_tf.inference.family import Family
from spleen_tf.inference.jobs import Job
from spleen_tf.inference.prediction import Options, PredictionRecord
from spleen_tf.io import nifti, readers
from spleen_tf.reporting import outputs, preview


class Segmenter:
    """Segments one volume after another; each family is loaded once."""

    def __init__(self, config: PredictConfig) -> None:
        """Finds the models, and loads none yet.

        Raises:
            InputError: if --model is not there or not in order, or no family is released.
        """
        self._config = config
        self._named = _named_family(config)

    def start(self) -> None:
        """Loads the family that --model names; a released one is loaded for the first volume."""
        if self._named:
            _start(self._named, self._config)

    def segment(self, job: Job) -> PredictionRecord:
        """One volume from file to files, unless another run writes its mask.

        Returns:
            The content of the JSON.
        """
        files.make_folder(job.mask.parent)
        with locks.output(job.mask):
            return _segment(job, self._named, self._config)


def _segment(job: Job, named: Family | None, config: PredictConfig) -> PredictionRecord:
    """One volume from file to files.

    Args:
        job: what to read and write.
        named: the models; None: the released family that is best for the volume.
        config: how to use them.

    Returns:
        The content of the JSON.
    """
    clock = timing.Clock()
    image = (
        readers.read_voxels(job.geometry)
        if job.geometry
        else readers.read(job.source, job.series_uid)
    )
    check_voxel(config, image)  # In a folder, each volume has a shape of its own.
    clock.lap("read")
    if not (family := named):
        family = _best_family(image, job, config)
        clock.lap("load")
    result = family.segment(image, _options(config, job))
    clock.take_over(result.seconds)
    if "probabilities" in job.others:
        outputs.write_probability(job.others, image, result)
        clock.lap("probabilities")
    nifti.write_mask(job.mask, result.mask_ijk, like=image)
    # If another output fails, the mask still has its JSON.
    job.write_record(result.record)
    clock.lap("write")
    if job.others:
        style = outputs.Style(config.preview_voxel or None, config.smooth_mesh)
        outputs.write(job.others, image, result, style)
        clock.lap("others")
    record = result.record.with_cost(clock.seconds(), timing.peak_rss_mb())
    job.write_record(record)
    return record


def _named_family(config: PredictConfig) -> Family | None:
    """The family that --model names, not loaded yet; None where each volume gets a released one.

    Raises:
        InputError: if it is not there or not in order, or there is no released one at all.
    """
    if config.model:
        return _resolve(config.model, config)
    needed: tuple[Modality, ...] = (config.modality,) if config.modality else ("CT", "MR")
    for modality_of_volume in needed:
        released.best_for(modality_of_volume)
    return None


def check_voxel(config: PredictConfig, image: Volume | Geometry) -> None:
    """Raises VolumeError if --preview_voxel is not in the volume."""
    if config.preview_voxel:
        preview.check_voxel(image, config.preview_voxel)


def _best_family(image: Volume, job: Job, config: PredictConfig) -> Family:
    volume_modality = modality.of_volume(image, job.modality)
    return _released_family(released.best_for(volume_modality.modality), config)


@functools.cache
def _released_family(place: pathlib.Path, config: PredictConfig) -> Family:
    family = _resolve([str(place)], config)
    _start(family, config)
    return family


def _resolve(paths: Sequence[str], config: PredictConfig) -> Family:
    is_calibrated = _options(config).is_as_calibrated
    return families.resolve(paths, _engine(config), config.second_opinion, is_calibrated)


def _options(config: PredictConfig, job: Job | None = None) -> Options:
    return Options(
        threshold=config.threshold or None,
        largest_component=config.largest_component,
        fill_holes=config.fill_holes,
        tta=config.tta,
        full=config.full,
        modality=job.modality if job else None,
        with_probability=bool(config.probabilities),
    )


def _engine(config: PredictConfig) -> Engine:
    return Engine(config.runtime, config.device, config.precision)


def _start(family: Family, config: PredictConfig) -> None:
    note = family.start(_engine(config))
    names = ", ".join(info.name for info in family.infos)
    print(f"{family.name}: {names}; {note}", flush=True)
