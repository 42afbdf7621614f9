"""Task definitions: read, compared, given an Envoy and freed of it, checked. Pure."""
