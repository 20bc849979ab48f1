"""Volumes and surfaces, read and written: NIfTI, DICOM, meshes."""
