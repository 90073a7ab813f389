"""Table workloads on hpcflow and its peers, in one run on the same files: `make bench-peers`, or `python -m benchmarks.peers --rows 1000000`."""
