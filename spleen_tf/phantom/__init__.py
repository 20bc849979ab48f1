"""Synthetic abdominal CT and MR volumes with known labels."""
