"""DICOM series: headers, frames, geometry, segmentation objects."""
