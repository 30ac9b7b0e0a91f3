"""The registry seen from outside, by the path that a client goes: name, port, TLS, protocol, login, push, proxy."""
