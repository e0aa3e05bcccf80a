"""What is wrong with a service, why, and what to do. Pure."""
