"""Conversion and prediction on a cluster: Apache Beam pipelines over local or remote files."""
