"""The operators, one folder each: contract, reference, and the fast implementations that are tested against it."""
