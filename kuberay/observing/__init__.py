"""Takes snapshots of services, waits for something to become true of them, reads their logs."""
