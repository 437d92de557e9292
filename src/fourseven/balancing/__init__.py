"""Balancing: each file is one way to pick a server.

An algorithm is a model (its fields, its reference page, its need) that lowers to a Picker: the
address of a native function and perhaps a table. The native functions stand in `picks`, one for
each way to choose; `cycle` and `maglev_table` fill the tables; `probe` picks from servers that
exist only in memory, for tests and `explain`.
"""
