"""The name under which the admin API's sockets stand among those of listeners."""

ADMIN = "@admin"  # no listener's: those begin with a letter, a digit or _
