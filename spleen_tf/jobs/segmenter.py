"""One volume from file to files: reads it, segments it, and writes all that was asked for."""

from __future__ import annotations

import contextlib
import functools
import itertools
import pathlib
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from spleen_tf.core import files, locks, timing
from spleen_tf.core.files import InputError
from spleen_tf.imaging.demographics import Demographics
from spleen_tf.imaging.intensity import MODALITIES
from spleen_tf.imaging.volume import Geometry, Volume
from spleen_tf.inference import loading, modality, released
from spleen_tf.inference.engine import Engine
from spleen_tf.inference.family import Family
from spleen_tf.inference.prediction import Options, Prediction, PredictionRecord
from spleen_tf.io import nifti, readers
from spleen_tf.jobs.config import PredictConfig
from spleen_tf.jobs.job import Job
from spleen_tf.reporting import outputs

_Read = tuple[Volume, timing.Clock]

# Of a file, compressed or not: most CTs of the abdomen.
_MOST_AHEAD_BYTES = 100 << 20


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
            image, clock = self._read(job)
            result = self._find(job, image, clock)
            return self._write(job, image, result, clock)

    def segment_each(self, jobs: Sequence[Job]) -> Generator[Future[PredictionRecord], None, None]:
        """Many volumes: while one is segmented, the next is read and the last is written.

        Large volumes are not read ahead, so that memory holds one of them at a time.

        Yields:
            For each job, in their order, the content of its JSON, or the InputError that `segment`
            raises.
        """
        with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
            written: Future[PredictionRecord] | None = None
            ahead: Future[_Read] | None = None
            for job, following in itertools.zip_longest(jobs, jobs[1:]):
                read = ahead or reader.submit(self._read, job)
                wait([read])
                is_next_read = following is not None and _is_small(job) and _is_small(following)
                ahead = reader.submit(self._read, following) if is_next_read else None
                writing = self._found(job, read, writer)
                del read  # With the volume in it.
                if not _is_small(job):
                    wait([writing])
                if written:
                    yield written
                written = writing
            if written:
                yield written

    def _found(
        self, job: Job, read: Future[_Read], writer: ThreadPoolExecutor
    ) -> Future[PredictionRecord]:
        """Finds the spleen, and has the result written."""
        try:
            image, clock = read.result()
            clock.resume()
            files.make_folder(job.mask.parent)
            with contextlib.ExitStack() as held:
                held.enter_context(locks.output(job.mask))
                result = self._find(job, image, clock)
                writing = writer.submit(self._write_and_release, job, image, result, clock, held)
                held.pop_all()
        except InputError as error:
            failed: Future[PredictionRecord] = Future()
            failed.set_exception(error)
            return failed
        return writing

    def _write_and_release(
        self,
        job: Job,
        image: Volume,
        result: Prediction,
        clock: timing.Clock,
        held: contextlib.ExitStack,
    ) -> PredictionRecord:
        clock.resume()
        with held:
            return self._write(job, image, result, clock)

    def _read(self, job: Job) -> _Read:
        clock = timing.Clock()
        image = (
            readers.read_voxels(job.geometry)
            if job.geometry
            else readers.read(job.source, job.series_uid)
        )
        check_voxel(self._config, image)  # In a folder, each volume has a shape of its own.
        clock.lap("read")
        return image, clock

    def _find(self, job: Job, image: Volume, clock: timing.Clock) -> Prediction:
        family = self._named
        if family is None:
            family = _best_family(image, job, self._config)
            clock.lap("load")
        result = family.segment(image, _options(self._config, job))
        clock.take_over(result.seconds)
        return result

    def _write(
        self, job: Job, image: Volume, result: Prediction, clock: timing.Clock
    ) -> PredictionRecord:
        if "probabilities" in job.others:
            outputs.write_probability(job.others, image, result)
            clock.lap("probabilities")
        nifti.write_mask(job.mask, result.mask_ijk, like=image)
        # If another output fails, the mask still has its JSON.
        job.write_record(result.record)
        clock.lap("write")
        if job.others:
            style = outputs.Style(
                center_ijk=self._config.preview_voxel or None,
                smooth=self._config.smooth_mesh,
                before=self._config.before,
                before_image=self._config.before_image,
            )
            outputs.write(job.others, image, result, style)
            clock.lap("others")
        record = result.record.with_cost(clock.seconds(), timing.peak_rss_mb())
        job.write_record(record)
        return record


def _is_small(job: Job) -> bool:
    """Whether a second and a third volume of its kind fit into memory beside it, by its file."""
    return job.source.is_file() and job.source.stat().st_size <= _MOST_AHEAD_BYTES


def _named_family(config: PredictConfig) -> Family | None:
    """The family that --model names, not loaded yet; None where each volume gets a released one.

    Raises:
        InputError: if it is not there or not in order, or there is no released one at all.
    """
    if config.model:
        return _resolve(config.model, config)
    for modality_of_volume in (config.modality,) if config.modality else MODALITIES:
        released.best_for(modality_of_volume)
    return None


def check_voxel(config: PredictConfig, image: Volume | Geometry) -> None:
    """Raises VolumeError if --preview_voxel is not in the volume."""
    if config.preview_voxel:
        from spleen_tf.reporting import preview  # Matplotlib takes half a second to import.

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
    return loading.resolve(paths, _engine(config), config.second_opinion, is_calibrated)


def _options(config: PredictConfig, job: Job | None = None) -> Options:
    return Options(
        threshold=config.threshold or None,
        largest_component=config.largest_component,
        fill_holes=config.fill_holes,
        tta=config.tta,
        full=config.full,
        modality=job.modality if job else None,
        demographics=Demographics(
            sex=config.sex,
            age_years=config.age_years,
            height_cm=config.height_cm,
            weight_kg=config.weight_kg,
        ),
        with_probability=bool(config.probabilities),
    )


def _engine(config: PredictConfig) -> Engine:
    return Engine(config.runtime, config.device, config.precision)


def _start(family: Family, config: PredictConfig) -> None:
    note = family.start(_engine(config))
    names = ", ".join(info.name for info in family.infos)
    print(f"{family.name}: {names}; {note}", flush=True)
