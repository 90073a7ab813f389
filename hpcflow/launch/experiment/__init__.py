"""Experiments: tasks with dependencies, tracked by files, each run exactly once."""
