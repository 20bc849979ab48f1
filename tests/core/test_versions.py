"""Versions as files have them."""

import platform

import numpy as np

import spleen_tf
from spleen_tf.core import versions


def test_software_is_the_projects_name_and_version():
    assert f"spleen_tf {spleen_tf.__version__}" == versions.SOFTWARE


def test_packages_that_are_not_installed_are_left_out():
    found = versions.installed(("numpy", "no-such-package"))
    assert found == {"python": platform.python_version(), "numpy": np.__version__}
