"""PageRank by hpcflow and Spark on the same links, in turns. `python -m benchmarks.page_rank`"""
