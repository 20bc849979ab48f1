"""Data sets: layouts, cases, labels, splits, fingerprints, surveys, and records of slices."""
