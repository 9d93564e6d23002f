"""What has a name: learners, sources, nets, encoders and the learners behind an encoder, a table each."""
