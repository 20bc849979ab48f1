"""Volumes as arrays with an affine: planes, intensities, masks. No files."""
