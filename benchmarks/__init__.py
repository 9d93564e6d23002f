"""Measurements of time, of accuracy and of predictors from a few examples: `python -m benchmarks.FOLDER.NAME`."""
