"""The user's side: lazy Datasets, sources, sinks and actions."""
