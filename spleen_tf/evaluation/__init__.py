"""Predictions against labels: pairs, distances, metrics, decisions, cross-validation."""
