"""The load that runs through a rollout, and the account, pictures and page made of it."""
