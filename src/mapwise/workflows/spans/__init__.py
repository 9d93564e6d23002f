"""Fitting a finder of spans, asking it, and its report."""
