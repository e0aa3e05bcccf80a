"""A service file as Kubernetes objects, KubeRay's rules for them, and what its operator makes of a change. Pure."""
