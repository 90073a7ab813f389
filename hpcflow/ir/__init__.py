"""The intermediate representation: an immutable Dag of operators whose vertices and edges carry execution properties."""
