"""How bright each tissue is in the phases of CT and the sequences of MR."""

from __future__ import annotations

import numpy as np

# Typical HU without contrast and in the phases that follow an injection.
CT_PHASES = ("non-contrast", "arterial", "portal venous", "delayed")
_CT_HU = {
    "liver": (56, 74, 108, 92),
    "spleen": (48, 122, 120, 98),
    "cortex": (34, 185, 180, 135),
    "medulla": (30, 78, 150, 140),
    "artery": (42, 310, 155, 115),
    "vein": (42, 90, 155, 114),
    "cava": (42, 65, 130, 110),
    "heart": (42, 240, 145, 112),
    "pancreas": (40, 104, 94, 76),
    "gut wall": (38, 82, 86, 72),
    "muscle": (52, 58, 64, 62),
    "urine": (5, 8, 20, 260),
    "bile": (8, 8, 8, 10),
    "fluid": (8, 8, 8, 8),
    "stool": (-10, -10, -10, -10),
    "fat": (-104, -104, -102, -102),
    "skin": (10, 15, 20, 20),
    "bone": (620, 620, 640, 630),
    "marrow": (165, 170, 185, 180),
    "cartilage": (110, 110, 115, 112),
    "disc": (85, 85, 90, 88),
    "csf": (12, 12, 12, 12),
    "cord": (36, 38, 40, 40),
    "lung": (-845, -835, -835, -835),
    "gas": (-985, -985, -985, -985),
}
# Dose and tube voltage move all that contrast adds alike: the same iodine is worth some 1.2 times
# as many HU at 100 kV as at the usual 120 kV, and 1.6 times at 80 kV.
_IODINE_GAIN = (0.8, 1.6)
# Typical signal by sequence, in percent of the brightest tissue. Fat in opposed phase is negative:
# in a voxel that holds both, fat and water cancel, which draws the outlines of organs black.
MR_SEQUENCES = (
    *("T2 fat-suppressed", "T2", "T1 fat-suppressed contrast-enhanced"),
    *("T1 in phase", "T1 opposed phase"),
)
_MR_PERCENT = {
    "liver": (34, 34, 68, 62, 58),
    "spleen": (68, 60, 74, 46, 46),
    "cortex": (78, 68, 92, 52, 52),
    "medulla": (86, 76, 78, 40, 40),
    "artery": (24, 14, 92, 36, 34),
    "vein": (52, 26, 92, 32, 32),
    "cava": (58, 28, 86, 32, 32),
    "heart": (42, 26, 86, 34, 34),
    "pancreas": (46, 48, 72, 64, 60),
    "gut wall": (42, 40, 70, 44, 42),
    "muscle": (17, 19, 38, 42, 42),
    "urine": (98, 98, 30, 16, 16),
    "bile": (98, 98, 22, 30, 30),
    "fluid": (92, 92, 14, 16, 16),
    "stool": (44, 44, 40, 50, 42),
    "fat": (13, 76, 15, 92, -66),
    "skin": (30, 50, 32, 46, 44),
    "bone": (5, 6, 8, 12, 12),
    "marrow": (20, 46, 32, 58, 24),
    "cartilage": (28, 34, 40, 38, 38),
    "disc": (42, 46, 26, 30, 30),
    "csf": (100, 100, 12, 14, 14),
    "cord": (52, 56, 40, 42, 42),
    "lung": (4, 4, 4, 4, 4),
    "gas": (1, 1, 1, 1, 1),
}

PROTOCOLS = {"CT": CT_PHASES, "MR": MR_SEQUENCES}


def draw_signals(
    rng: np.random.Generator, modality: str, protocol: str = ""
) -> tuple[str, dict[str, float]]:
    """A protocol and each tissue's value under it; no organ has a brightness of its own.

    Args:
        rng: where both are drawn from.
        modality: "CT" (values in HU) or "MR" (in percent of the brightest tissue).
        protocol: one of PROTOCOLS[modality] in place of the one that is drawn.
    """
    if modality == "CT":
        phase = int(rng.choice(4, p=(0.2, 0.2, 0.45, 0.15)))
        phase = CT_PHASES.index(protocol) if protocol else phase
        uptake = {name: hu[phase] - hu[0] for name, hu in _CT_HU.items()}
        gain = float(np.exp(rng.uniform(*np.log(_IODINE_GAIN))))
        signals = {
            name: hu[0] + gain * uptake[name] + rng.normal(0, 4 + 0.09 * abs(uptake[name]))
            for name, hu in _CT_HU.items()
        }
        signals["liver"] -= rng.uniform(0, 45) if rng.random() < 0.25 else 0  # Steatosis.
        # In the arterial phase the pulp takes up contrast unevenly.
        signals["spleen mottle"] = rng.uniform(4, 18) if phase == 1 else 0.0
        return CT_PHASES[phase], signals
    sequence = int(rng.choice(5, p=(0.4, 0.2, 0.2, 0.1, 0.1)))
    sequence = MR_SEQUENCES.index(protocol) if protocol else sequence
    signals = {
        name: percent[sequence] * float(np.exp(rng.normal(0, 0.12)))
        for name, percent in _MR_PERCENT.items()
    }
    signals["spleen mottle"] = 0.0
    return MR_SEQUENCES[sequence], signals
