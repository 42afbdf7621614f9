"""Make a load balancer with its target groups and its rule, lead the dialled name to it
and put services behind it; and take all of it away again.
"""
