"""Commands, above the roles: they wire and run, they decide nothing."""
