"""How far to trust a mask: evidence, calibration, corruptions to learn it from."""
