"""Partitioners, and the exchange that moves rows to the owners of their partitions."""
