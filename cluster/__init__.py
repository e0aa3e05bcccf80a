"""What a service stands on: network, GKE, node pools, bucket, identities, registry, secrets, alerts."""
