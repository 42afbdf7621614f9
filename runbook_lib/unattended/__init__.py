"""Runs without a person: an environment's notebooks executed in their order."""
