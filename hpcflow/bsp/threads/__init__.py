"""The parts of ThreadComm, one idea a file: waiting, rounds of collectives, messages, requests, datatypes, operations, buffers, grids, windows."""
