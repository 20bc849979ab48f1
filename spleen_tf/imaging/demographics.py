"""What is known of a patient that the size of a spleen depends on."""

from __future__ import annotations

import dataclasses
from typing import Literal

Sex = Literal["F", "M"]


@dataclasses.dataclass(frozen=True)
class Demographics:
    """Sex, age and size of a patient; None where they are not known.

    Attributes:
        sex: F or M.
        age_years: at the examination.
        height_cm: of the body.
        weight_kg: of the body.
    """

    sex: Sex | None = None
    age_years: float | None = None
    height_cm: float | None = None
    weight_kg: float | None = None

    def with_given(self, given: Demographics) -> Demographics:
        """The same, with what another source says in place of one's own."""
        values = {key: value for key, value in vars(given).items() if value is not None}
        return dataclasses.replace(self, **values)


NOTHING_KNOWN = Demographics()
