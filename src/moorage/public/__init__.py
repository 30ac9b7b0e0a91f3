"""What is answered to everybody, without a password: challenges, the private authority's certificate, redirects."""
