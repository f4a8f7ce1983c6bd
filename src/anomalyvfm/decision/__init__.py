"""From scores of good images to verdicts: calibration, regions, drift. Runs without torch."""
