"""Moving buffers between ranks: `base` (the protocol), `in_process` and `mpi`, `engine` (the one thread that calls them), `watchdog`."""
