"""What black-box tests share: a raw client, a recording server, and the balancer under test.

Laws: everything is on loopback and on ports the kernel chose; nothing waits by sleeping where it
can wait for an event; what is started is stopped by its own process id. None of it uses the
product's parser: a test that reads with the eyes of the tested sees what the tested sees.
"""
