"""From an optimized Dag to a physical plan: stages, tasks, blocks."""
