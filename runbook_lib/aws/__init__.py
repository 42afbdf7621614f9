"""The only door to AWS: the session that calls, `apply` that writes, and one
module for each service.
"""
