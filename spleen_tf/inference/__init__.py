"""Exported models applied to volumes: members, fusion, and the prediction they give."""
