"""Predictors fitted to a few examples: kept in a file, queried, and judged."""
