"""Where jobs run: one file an executor, behind the contract of `base`."""
