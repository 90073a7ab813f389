"""k-means on hpcflow, by hand with mpi4py and NumPy, on Spark and on Dask: the same points, in turns. `python -m benchmarks.k_means`"""
