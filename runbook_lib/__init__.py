"""The words a notebook may use."""
