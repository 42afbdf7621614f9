"""AWS App Mesh, the tutorial's engine: a route divides the traffic, each
caller's Envoy follows it.

Nothing is imported here; `engine` is what the protocol asks for.
"""
