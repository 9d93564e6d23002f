"""What a support set tells of itself and of queries: pure functions of a learner, its params and encoded rows."""
