"""What a snapshot says: clusters, pods, stages, a service's state in one value. Pure."""
