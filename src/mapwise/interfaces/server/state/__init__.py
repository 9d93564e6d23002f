"""What the server keeps: predictors with their examples, in memory and in a folder."""
