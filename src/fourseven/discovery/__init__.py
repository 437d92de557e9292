"""Discovery: where the servers of a backend are asked for, and how.

A source is a feature like a match or a check: one file, one class, one line in the registry. It
looks once when it is asked, and says when to look again; control.discovery does the rest.
"""
