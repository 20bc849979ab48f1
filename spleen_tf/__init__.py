"""Spleen segmentation in abdominal CT and MR volumes with TensorFlow."""

__version__ = "0.1.0"
