"""Operators: one frozen dataclass each, named with the user's or the planner's word."""
