"""What predict does: volumes in files, one or many, to the files that are written for each."""
