"""A parsed HTTP message, in the one form that every protocol reader fills (message.h).

Matches, filters and the engine read this form and never ask which protocol it came by.
This module makes the names of message.pxd importable from Python.
"""
