"""Adaptation by memory: rows are read one after another and stored for later reading."""
