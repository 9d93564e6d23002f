"""Searches for better settings of a training."""
