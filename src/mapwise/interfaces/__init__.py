"""Thin ways in: the command line. They ask the floors below and show what these answer."""
