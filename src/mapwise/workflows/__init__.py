"""What is done with learners, runs and searches. Nothing here prints: remarks and progress go to a `Display`."""
