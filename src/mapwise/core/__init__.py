"""What a task is, what a learner is. Imports nothing of mapwise outside this folder."""
