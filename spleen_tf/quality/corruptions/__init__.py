"""What goes wrong with volumes in practice, done on purpose to volumes that are in order.

Each corruption takes a volume, its label and a random generator, and returns both, changed; the
study of quality control measures how a model fails on them, and whether that is noticed.
"""

from collections.abc import Mapping

from spleen_tf.imaging.intensity import Modality
from spleen_tf.quality.corruptions import ct, mr, shared
from spleen_tf.quality.corruptions.shared import Corruption

_FLIPPED = (shared.flipped_right, shared.flipped_anterior, shared.flipped_superior)

# The place of a corruption is part of its seed: add others at the end.
_OF: dict[Modality, tuple[Corruption, ...]] = {
    "MR": (
        *(shared.none, mr.noise, mr.bias_field, shared.blur, mr.ghosts, mr.inverted),
        *(mr.other_contrast, shared.dark_spleen, mr.wrong_window),
        *_FLIPPED,
        *(shared.truncated, shared.missing_slices, shared.no_spleen),
    ),
    "CT": (
        *(shared.none, ct.low_dose, ct.sharp_kernel, shared.blur, ct.thick_slices),
        *(ct.no_contrast, ct.mottled, shared.dark_spleen, ct.fluid_around, ct.metal),
        *(ct.narrow_window, ct.no_offset),
        *_FLIPPED,
        *(shared.truncated, shared.missing_slices, shared.no_spleen),
    ),
}


def of(modality: Modality) -> Mapping[str, Corruption]:
    """The corruptions of volumes of a modality, by name."""
    return {corruption.__name__: corruption for corruption in _OF[modality]}
