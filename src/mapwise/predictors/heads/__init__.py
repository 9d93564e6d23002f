"""What may stand behind an encoder."""
