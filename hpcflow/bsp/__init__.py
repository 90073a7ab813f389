"""BSP beside the dataflow: what a program does by hand on all ranks at once, with MPI collectives and dataflow operators on tables."""
