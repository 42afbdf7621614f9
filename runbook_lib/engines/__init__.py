"""What carries the weights: one folder an engine, behind the protocol in `protocol`.

Nothing is imported here: the parameters may take an engine's own tables
without the whole of it.
"""
