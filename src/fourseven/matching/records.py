"""The words of matching that both halves share: fields, tests, kinds of keys, limits.

The enumerations stand in the .pxd beside this file, so that the compiler (Python) and the
matcher (native) read one list. The records themselves are in records.h.
"""
