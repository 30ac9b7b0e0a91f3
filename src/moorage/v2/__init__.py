"""The OCI distribution protocol: a request value in, a response value out."""
