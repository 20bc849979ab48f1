"""How the learning rate changes while the time passes."""

import math


def one_cycle(share: float) -> float:
    """A factor of the peak: up over the first twentieth of the time, then down as a cosine.

    Args:
        share: of the time that has passed, from 0 to 1.
    """
    return min(share / 0.05 + 0.01, 0.5 * (1 + math.cos(math.pi * min(1.0, share))), 1.0)


def constant(share: float) -> float:
    """The peak itself."""
    return 1.0
