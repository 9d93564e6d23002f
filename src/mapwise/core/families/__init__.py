"""What the learners of a family share."""
