"""TLS as a listener offers it: certificates, names, tickets. OpenSSL does the cryptography."""
