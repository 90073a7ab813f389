"""What the launch layer costs before anything runs."""
