"""What carries traffic on the local mesh."""
