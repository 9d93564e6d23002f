"""Runs: settings with one address each, and the folder that a training leaves."""
