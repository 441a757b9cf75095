"""Workflows: what a verb does over many runs. Sessions, the queue, retries, early stops, machines, calibration."""
