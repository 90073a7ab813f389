"""The driver outside of the MPI world: ranks that a session has started itself, served over one connection to rank 0."""
