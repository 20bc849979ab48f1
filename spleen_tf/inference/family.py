"""A family of models: what finds the spleen in a volume, and judges what was found."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy.typing as npt

from spleen_tf.core.timing import Clock
from spleen_tf.imaging.intensity import ModelModality
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import engine as engines
from spleen_tf.inference import judgement
from spleen_tf.inference import modality as modalities
from spleen_tf.inference import search as searches
from spleen_tf.inference.engine import DEFAULT_ENGINE, Engine
from spleen_tf.inference.finding import Case, Finding, find
from spleen_tf.inference.judgement import judge
from spleen_tf.inference.member import Member
from spleen_tf.inference.model_files import ModelInfo
from spleen_tf.inference.prediction import DEFAULTS, Options, Prediction, PredictionRecord
from spleen_tf.inference.search import Plan
from spleen_tf.quality import checks
from spleen_tf.quality.calibration import Calibration


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
        return judgement.runtime(self.members)

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
        case = Case(image, modalities.taken(image, self.modality, options.modality), options)
        calibration = self.calibration if options.is_as_calibrated else None
        is_judged = options.with_evidence or calibration is not None
        second = self.second_opinion
        # Several members show whether they agree, which needs no calibration.
        with_evidence = is_judged or second is not None or len(self.members) > 1
        finding = self._find(case, with_evidence, clock)
        if second and not case.taken.is_mismatch and checks.is_disputed(finding.evidence):
            other = second._find(case, True, clock)
            if not checks.is_disputed(other.evidence):
                # The calibration is not of these models.
                record = judge(case, other, second.members, is_second_opinion=True)
                return second._prediction(other, record, clock, is_second_opinion=True)
        # Where the evidence is judged, the share of the largest piece is part of it.
        record = judge(case, finding, self.members, calibration, weighs_pieces=not is_judged)
        return self._prediction(finding, record, clock)

    def probability(self, image: Volume, tta: bool = False) -> npt.NDArray[Any]:
        """(I, J, K) float16: the mean of the members' probabilities, and nothing else."""
        taken = modalities.taken(image, self.modality)
        seen = searches.search(image, Plan(self.members, self.first_look, taken.modality, tta))
        return seen.in_volume(seen.probability_ijk, image.shape)

    def _find(self, case: Case, with_evidence: bool, clock: Clock) -> Finding:
        return find(self.members, self.first_look, case, with_evidence, clock)

    def _prediction(
        self,
        finding: Finding,
        record: PredictionRecord,
        clock: Clock,
        is_second_opinion: bool = False,
    ) -> Prediction:
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
