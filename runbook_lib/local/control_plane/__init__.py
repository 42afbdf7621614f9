"""The local mesh: the control plane and the data plane a laptop can run."""
