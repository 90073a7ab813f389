"""What an iteration costs beside its work: `hpcflow run benchmarks/loops/overhead.py -n 3`"""
