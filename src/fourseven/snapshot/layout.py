"""The records of layout.h by name: for native modules the structs, for Python the enums."""
