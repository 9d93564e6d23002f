"""Encoders trained on all base classes at once, then adapted."""
