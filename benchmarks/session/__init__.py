"""What a session costs when it does nothing, or next to nothing: `python -m benchmarks.session`."""
