"""Raw inputs to arrays: they stand before a learner, and their outputs may be kept."""
