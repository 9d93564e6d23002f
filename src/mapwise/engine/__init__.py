"""Training and evaluation: knows the protocol, never a learner."""
