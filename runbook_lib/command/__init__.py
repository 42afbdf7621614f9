"""What a user types: the `runbook` command, unattended runs, and what both
show while they last.
"""
