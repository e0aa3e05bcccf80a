"""What is asked of Google for a service file: resources by kind, and what of them may change. Pure."""
