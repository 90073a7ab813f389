"""Starts jobs by command line: imports events and errors and nothing else of ours, and works without MPI and compiled extensions."""
