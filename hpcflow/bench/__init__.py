"""Checks of a cluster, one file each: `mpirun -n 4 python -m hpcflow.bench {hello,ring,alltoall,shuffle}`."""
