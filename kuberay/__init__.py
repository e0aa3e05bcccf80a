"""Describes a service as a RayService, applies it, and explains what a cluster makes of it."""
