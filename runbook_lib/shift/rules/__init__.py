"""What follows from a look at a step. Pure."""
