"""Adaptation by comparison: distances in a learned space."""
