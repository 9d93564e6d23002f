"""Learners compared under one budget."""
