"""Changes a cluster: deploys, tries a pod, suspends, resumes, deletes, writes what was decided."""
