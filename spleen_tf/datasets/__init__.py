"""Data sets: layouts, cases, splits, fingerprints, and records of their slices."""
