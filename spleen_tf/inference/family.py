"""A family of models: what finds the spleen in a volume, and judges what was found."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from spleen_tf.core.timing import Clock
from spleen_tf.imaging import masks
from spleen_tf.imaging.intensity import ModelModality
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import engine as engines
from spleen_tf.inference import fusion, prediction
from spleen_tf.inference import modality as modalities
from spleen_tf.inference import search as searches
from spleen_tf.inference.engine import DEFAULT_ENGINE, Engine
from spleen_tf.inference.member import Member
from spleen_tf.inference.modality import TakenModality
from spleen_tf.inference.model_files import ModelInfo
from spleen_tf.inference.prediction import DEFAULTS, Options, Prediction
from spleen_tf.inference.search import Plan, Seen
from spleen_tf.quality import checks, evidence, reference
from spleen_tf.quality.calibration import Calibration
from spleen_tf.quality.checks import Direction
from spleen_tf.quality.evidence import Agreement, Evidence


@dataclasses.dataclass(frozen=True, eq=False)
class _Finding:
    """What members find, before it is judged."""

    mask_ijk: npt.NDArray[np.bool_]
    components: int
    voxels_above: int
    window: tuple[float, float]
    mirrored_ml: dict[Direction, tuple[float, float]]
    evidence: Evidence | None
    nested_ml: tuple[float, float] | None
    probability_ijk: npt.NDArray[Any] | None
    doubt: str | None


@dataclasses.dataclass(frozen=True, eq=False)
class Family:
    """Models that are used together.

    Attributes:
        name: for all members together.
        members: whose probabilities are averaged; they are loaded when they are first used.
        calibration: what cross-validation has taught of them; None: no Dice is predicted.
        second_opinion: other models, which are asked where the members disagree, and whose result
            is taken if they agree; None: there are none.
        first_look: other members, of one plane, that say where these ones look; (): these ones look
            at the whole volume.
    """

    name: str
    members: tuple[Member, ...]
    calibration: Calibration | None = None
    second_opinion: Family | None = None
    first_look: tuple[Member, ...] = ()

    @property
    def infos(self) -> tuple[ModelInfo, ...]:
        """The model.json of each member."""
        return tuple(member.info for member in self.members)

    @property
    def modality(self) -> ModelModality:
        """Which volumes the family is for."""
        return modalities.of_models(self.infos)

    @property
    def runtime(self) -> str:
        """What runs the members."""
        return " + ".join(dict.fromkeys(member.runtime.name for member in self.members))

    def start(self, engine: Engine = DEFAULT_ENGINE) -> str:
        """Sets up the device and loads the members now, and not when they are first used.

        Returns:
            What runs them, in which precision and why.

        Raises:
            InputError: if one cannot be loaded, or the device does not exist here.
        """
        runtimes = [member.runtime for member in (*self.first_look, *self.members)]
        note = engines.start(runtimes, engine)
        for runtime in runtimes:
            runtime.load()
        return note

    def segment(self, image: Volume, options: Options = DEFAULTS) -> Prediction:
        """Finds the spleen and judges what was found.

        Args:
            image: the volume.
            options: how.

        Raises:
            InputError: if the volume does not fit into memory, or a network gives NaN.
        """
        clock = Clock()
        taken = modalities.taken(image, self.modality, options.modality)
        calibration = self.calibration if options.is_as_calibrated else None
        is_judged = options.with_evidence or calibration is not None
        second = self.second_opinion
        # Several members show whether they agree, which needs no calibration.
        with_evidence = is_judged or second is not None or len(self.members) > 1
        finding = self._find(image, taken, options, with_evidence, clock)
        if second and not taken.is_mismatch and checks.is_disputed(finding.evidence):
            other = second._find(image, taken, options, True, clock)
            if not checks.is_disputed(other.evidence):
                # The calibration is not of these models.
                return second._judge(
                    image, options, taken, other, None, clock, is_second_opinion=True
                )
        return self._judge(image, options, taken, finding, calibration, clock, is_judged)

    def probability(self, image: Volume, tta: bool = False) -> npt.NDArray[Any]:
        """(I, J, K) float16: the mean of the members' probabilities, and nothing else."""
        taken = modalities.taken(image, self.modality)
        seen = searches.search(image, Plan(self.members, self.first_look, taken.modality, tta))
        return seen.in_volume(seen.probability_ijk, image.shape)

    def _find(
        self,
        image: Volume,
        taken: TakenModality,
        options: Options,
        with_evidence: bool,
        clock: Clock,
    ) -> _Finding:
        plan = Plan(
            self.members,
            self.first_look,
            taken.modality,
            tta=options.tta,
            full=options.full,
            with_views=with_evidence and len(self.members) > 1,
        )
        seen = searches.search(image, plan)
        mirrored_ml = searches.mirrored_ml(image, plan, seen.windows)
        clock.lap("network")
        probability, cutoff = seen.probability_ijk, options.threshold
        if cutoff is None:
            cutoff = fusion.threshold(self.members)
        mask = probability >= cutoff
        voxels_above = int(np.count_nonzero(mask))
        components = masks.count_components(mask)
        if options.largest_component:
            mask = masks.largest_component(mask)
        if options.fill_holes:
            mask = masks.fill_holes(mask)
        collected, nested_ml = None, None
        if with_evidence and mask.any():
            agreement = self._agreement(seen, mask)
            collected = evidence.collect(
                seen.crop, seen.windows[0], probability, mask, agreement, voxels_above
            )
            nested_ml = evidence.nested_ml(seen.crop, probability, mask, cutoff)
        clock.lap("postprocess")
        return _Finding(
            mask_ijk=seen.in_volume(mask, image.shape),
            components=components,
            voxels_above=voxels_above,
            window=seen.windows[0],
            mirrored_ml=mirrored_ml,
            evidence=collected,
            nested_ml=nested_ml,
            probability_ijk=(
                seen.in_volume(probability, image.shape) if options.with_probability else None
            ),
            doubt=seen.doubt,
        )

    def _agreement(self, seen: Seen, mask_ijk: npt.NDArray[np.bool_]) -> Agreement:
        """Between the members, or of a single one with itself where it is shown another body."""
        if len(self.members) > 1:
            return evidence.agreement_around(mask_ijk, (view.mask_ijk() for view in seen.views))
        result_nhw, views_nhw = fusion.shown_differently(
            self.members[0], seen.crop, seen.windows[0], mask_ijk, seen.skip_below_mm
        )
        return evidence.agreement(result_nhw, [result_nhw, *views_nhw])

    def _judge(
        self,
        image: Volume,
        options: Options,
        taken: TakenModality,
        finding: _Finding,
        calibration: Calibration | None,
        clock: Clock,
        is_judged: bool = False,
        is_second_opinion: bool = False,
    ) -> Prediction:
        measurements = evidence.measure(image, finding.mask_ijk)
        dice, interval, note, interval_ml = None, None, None, None
        if calibration and finding.evidence:
            dice, interval = calibration.predict(finding.evidence)
            note = calibration.note(taken.modality)
            interval_ml = calibration.interval_ml(
                taken.modality, measurements.volume_ml, finding.nested_ml, finding.evidence
            )
        # Where the evidence is judged, the main share is part of it.
        main_share = 1.0 if is_judged else measurements.voxels / max(1, finding.voxels_above)
        reasons = checks.reasons_for_review(
            image,
            measurements,
            predicted_dice=dice,
            review_below=calibration.review_below if calibration else 0.0,
            flipped=checks.flipped_directions(finding.mirrored_ml),
            modality_doubt=taken.doubt,
            place_doubt=finding.doubt,
            main_share=main_share,
            evidence=finding.evidence,
            is_second_opinion=is_second_opinion,
        )
        patient = image.demographics.with_given(options.demographics)
        record = prediction.record_of(
            measurements,
            self.infos,
            volume_ml_interval=interval_ml,
            volume_ml_nested=finding.nested_ml,
            volume_reference=reference.of(measurements, patient),
            model_sha256=[member.sha256 for member in self.members],
            runtime=self.runtime,
            components=finding.components,
            modality=taken.modality,
            modality_reason=taken.reason,
            predicted_dice=dice,
            predicted_dice_interval=interval,
            predicted_dice_note=note,
            calibrated_on=calibration.basis if calibration and finding.evidence else None,
            evidence=finding.evidence,
            reasons=reasons,
        )
        clock.lap("postprocess")
        return Prediction(
            mask_ijk=finding.mask_ijk,
            record=record,
            family=self.name,
            window=finding.window,
            mirrored_ml=finding.mirrored_ml,
            is_second_opinion=is_second_opinion,
            probability_ijk=finding.probability_ijk,
            seconds=clock.stages(),
        )
