"""What is put into the cluster once it is there: objects, KubeRay's release, a kubeconfig. Pure."""
