"""A real Kubernetes with KubeRay on one Linux machine, built from source, in namespaces of its own."""
