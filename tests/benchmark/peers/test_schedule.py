"""The learning rate of the peers' networks."""

import numpy as np
import pytest

from spleen_tf.benchmark.peers import schedule


def test_the_learning_rate_rises_and_falls():
    shares = np.linspace(0, 1, 101)
    rates = [schedule.one_cycle(share) for share in shares]
    assert rates[0] < 0.02
    assert 0.9 < max(rates) <= 1
    assert shares[np.argmax(rates)] == pytest.approx(0.05, abs=0.011)
    assert rates[-1] == 0


def test_the_learning_rate_stays():
    assert [schedule.constant(share) for share in (0, 0.5, 1)] == [1, 1, 1]
