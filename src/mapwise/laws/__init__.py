"""The laws every learner keeps."""
