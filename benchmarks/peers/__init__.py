"""The public decoding loops, each stated again in our own words: what `benchmarks/peers.py` measures mdmkit against.

They are frozen. A change is right only where a loop was misread, and `tests/test_peers.py` compares each with tokens
that the original has written, or with those of mdmkit where no such record exists. What an original wastes, such as a
softmax in float64 over all columns, is here too; what it does only to show or to stop early is not.
"""
