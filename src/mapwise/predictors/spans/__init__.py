"""Finders of spans, such as names of persons and places, fitted to a few annotated texts."""
