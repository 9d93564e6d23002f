"""Adaptation by optimisation: a few steps down the support loss."""
