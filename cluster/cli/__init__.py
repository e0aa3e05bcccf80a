"""The sub-commands of ``switchyard cluster``, and what they show."""
