"""The way to a cluster: requests prepared apart from being sent, watches, forwarded ports, Ray's dashboard."""
