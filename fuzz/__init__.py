"""Fuzz targets that look at which lines an input reaches: `make fuzz`, never part of the tests."""
