"""Adaptation by remembering: rows are read one after another and kept where they are found again."""
