"""Expressions on partitions: expansion, classification, splitting and exact decomposition of Polars expressions."""
