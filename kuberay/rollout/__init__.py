"""The switch from one release to the next: held, validated, decided about, watched, and taken back if need be."""
