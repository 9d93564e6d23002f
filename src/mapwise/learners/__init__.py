"""One file, one algorithm, filed by the taxonomy of the field."""
