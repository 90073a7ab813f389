"""What code goes along with a job: one file a packager, behind `base.Packager`."""
