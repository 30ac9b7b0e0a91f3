"""TXT records for dns-01: put there by a program, an update (RFC 2136) or a provider's API, and waited for."""
