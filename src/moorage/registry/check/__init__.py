"""Reading back what a registry promises: database, bytes and link files, each held against the others."""
