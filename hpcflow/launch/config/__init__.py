"""Configurations: Config, Partial and Script, checked when set, read from files that run nothing, changed by overrides."""
