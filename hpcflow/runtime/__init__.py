"""Master, workers, task threads, block store: what runs a physical plan."""
