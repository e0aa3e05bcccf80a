"""The sub-commands about a cluster, a file a group, and what they show."""
