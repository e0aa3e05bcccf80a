"""(wanted, observed) -> actions: plans, their ends, their words in gcloud, and whether the quota is there. Pure."""
