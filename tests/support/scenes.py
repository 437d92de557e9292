"""Set-ups to look at the dashboard with: a busy one, a large one with long names, a hostile one."""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

BUSY: Config = {
    "listeners": {
        "web": {
            "bind": "0.0.0.0:443",
            "protocol": "http",
            "routes": [
                {
                    "name": "videos",
                    "match": {"host": "media.example.com", "path": "/videos/"},
                    "backend": "videos",
                },
                {
                    "name": "checkout",
                    "match": {"path": "/checkout/", "method": ["POST", "PUT"]},
                    "backend": "billing",
                },
                {
                    "name": "mobile api",
                    "match": {"path": "/api/", "header": {"X-App": "ios"}},
                    "backends": {"api": 95, "api-canary": 5},
                },
                {"name": "api", "match": {"path": "/api/"}, "backend": "api"},
                {
                    "name": "old",
                    "match": {"path": "/2019/"},
                    "filters": [{"redirect": {"prefix": "/"}}],
                },
                {"name": "site", "backend": "site"},
            ],
        },
        "internal": {
            "bind": "10.0.0.1:8080",
            "protocol": "http",
            "routes": [
                {"name": "metrics", "match": {"path": "/metrics"}, "backend": "api"},
                {"name": "tools", "backend": "tools"},
            ],
        },
        "postgres": {"bind": "10.0.0.1:5432", "backend": "postgres"},
        "dns": {"bind": "udp://10.0.0.1:53", "backend": "resolvers"},
    },
    "backends": {
        "site": {
            "servers": [f"10.0.1.{n}:8080" for n in range(1, 5)],
            "health": {"http": "/healthz"},
        },
        "videos": {
            "servers": [f"10.0.2.{n}:8080" for n in range(1, 4)],
            "balance": "least_requests",
        },
        "billing": {"servers": ["10.0.3.1:8080", "10.0.3.2:8080"], "retries": 0},
        "api": {"servers": [f"10.0.4.{n}:9000" for n in range(1, 4)], "balance": "peak_ewma"},
        "api-canary": {"servers": ["10.0.4.9:9000"]},
        "tools": {"servers": ["unix:/run/tools.sock"]},
        "postgres": {
            "servers": ["db-1.internal:5432", "db-2.internal:5432"],
            "balance": "source_hash",
        },
        "resolvers": {"servers": ["10.0.6.1:53", "10.0.6.2:53"], "balance": "maglev"},
    },
}
BUSY_RATES = {
    ("web", "videos"): 320, ("web", "checkout"): 12, ("web", "mobile api"): 260, ("web", "api"): 410,
    ("web", "site"): 1240, ("web", "old"): 3, ("internal", "metrics"): 1, ("internal", "tools"): 6,
    ("postgres", "backend"): 85, ("dns", "backend"): 0,
}  # fmt: skip
BUSY_TROUBLES = {
    ("site", "10.0.1.3:8080"): ("down", "connection refused"),
    ("videos", "10.0.2.3:8080"): ("starting", "it gets its share by and by"),
    ("api", "10.0.4.2:9000"): ("ejected", "7 errors in a row"),
}


def large(servers: int = 100) -> tuple[Config, dict[Any, float], dict[Any, Any]]:
    """Many servers, many routes, names as long as names may be."""
    long = "a-backend-whose-name-somebody-made-of-a-whole-sentence-about-it"
    tenants = [
        f"tenant-{n:02}.customers.of-a-very-long-company-name.example.com" for n in range(40)
    ]
    listeners = {
        "an-edge-listener-with-a-name-that-goes-on-and-on-for-a-while": {
            "bind": ["0.0.0.0:80", "[::]:443"],
            "protocol": "http",
            "routes": [
                {
                    "name": f"route for {host}",
                    "match": {"host": host, "path": f"/a/deep/path/{n}/"},
                    "backend": long if n % 2 else "pool",
                }
                for n, host in enumerate(tenants)
            ],
        },
        "b": {"bind": "127.0.0.1:1", "backend": "small"},
    }
    backends = {
        "pool": {"servers": [f"10.1.{n // 50}.{n % 50 + 1}:8080" for n in range(servers - 20)]},
        long: {
            "servers": [f"{long[:50]}-{n}.some-region.compute.internal:65535" for n in range(18)]
        },
        "small": {
            "servers": [
                "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:443",
                "unix:/run/a/socket/in/a/folder.sock",
            ]
        },
    }
    edge = next(iter(listeners))
    rates = {(edge, f"route for {host}"): 400 / (n + 1) for n, host in enumerate(tenants)}
    troubles = {
        ("pool", f"10.1.0.{n}:8080"): ("down", "connection timed out after 2 s, 3 times in a row")
        for n in (3, 17, 31)
    }
    return {"listeners": listeners, "backends": backends}, {**rates, ("b", "backend"): 20}, troubles


HOSTILE = '<img src=x onerror="document.title=1">'


def hostile() -> tuple[Config, dict[Any, float], dict[Any, Any]]:
    """Every text that a file can choose is markup."""
    config = {
        "listeners": {"web": {"bind": "0.0.0.0:80", "routes": [
            {"name": HOSTILE, "match": {"path": "/<script>document.title=2</script>"}, "backend": "b"}]}},
        "backends": {"b": {"servers": [f"unix:/run/{HOSTILE.replace('/', '')}.sock"]}},
    }  # fmt: skip
    address = config["backends"]["b"]["servers"][0]
    return config, {("web", HOSTILE): 5}, {("b", address): ("down", HOSTILE)}
