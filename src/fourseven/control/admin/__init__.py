"""The admin API: what runs, seen and changed from outside (docs/admin.md)."""
