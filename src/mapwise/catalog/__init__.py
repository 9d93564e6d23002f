"""What has a name: learners, sources, nets, encoders and the learners behind an encoder, a table each."""

from mapwise.core.renamed import moved

__getattr__ = moved(__name__)
