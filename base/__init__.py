"""What every role shares: values, limits, errors, seams. Imports the standard library only."""
