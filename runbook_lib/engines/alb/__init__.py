"""An Application Load Balancer as an engine: one listener rule divides the traffic
between two target groups.

The rule and its groups were there before; the runbook changes the rule's
weights and no more.
"""
