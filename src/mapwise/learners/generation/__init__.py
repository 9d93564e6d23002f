"""Learners in which one network writes another's weights."""
