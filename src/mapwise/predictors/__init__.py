"""What a few examples taught, as a thing to keep, to ask and to judge."""
