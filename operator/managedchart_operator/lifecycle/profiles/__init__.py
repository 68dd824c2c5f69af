"""LifecycleProfiles: actions that an administrator puts around charts that others own, and for whom each one counts."""
