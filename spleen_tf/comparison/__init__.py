"""Two examinations of a patient: what has changed, against the error of measurement."""
