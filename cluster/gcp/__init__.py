"""Google's APIs, a file a group of them; nothing else of cluster knows their libraries."""
