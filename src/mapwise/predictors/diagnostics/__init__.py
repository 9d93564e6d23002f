"""What one asks of a predictor besides its answers: functions that take one."""
