"""The optimizing compiler: ordered passes over the Dag."""
