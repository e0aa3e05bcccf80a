"""The API server of the cluster, and the kubeconfig file of this machine."""
