"""Texts in which spans have a type, such as names of persons and places: their files, and where a span may begin."""
