from enum import IntEnum

FLIGHT_MAX: int
MESSAGE_ROOM: int

class FlightEvent(IntEnum):
    FLIGHT_MORE = 0
    FLIGHT_HELLO = 1
    FLIGHT_TICKET = 2
    FLIGHT_OVER = 3
    FLIGHT_BROKEN = -1
    FLIGHT_LONG = -2
