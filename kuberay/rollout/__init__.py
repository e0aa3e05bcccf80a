"""The switch from one release to the next: held, validated, decided, made, watched, and taken back.

Read `record` and `seen` (what is known), then `machine` (what to do about it: the laws are at its top), then `run`,
which does it. All that matters is in the cluster: any machine can go on where another one was ended.
"""
