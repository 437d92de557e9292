from fourseven.plan import GatePlan, RoutePlan

def states_of(
    listener: str, route: RoutePlan
) -> list[tuple[tuple[str, str, int, int], GatePlan]]: ...
