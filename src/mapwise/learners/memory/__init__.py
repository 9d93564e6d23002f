"""Adaptation by an external memory that is read and written."""
