"""What many certificates cost: `certificates.py [COUNT]`; 10,000 if left out.

Each is a file of its own, with a name of its own, ECDSA on P-256. Counted is the processor time of
what control does with a file that names them all, which other work on the machine does not lengthen
much: at the start, at a reload where nothing has changed, and at one where ten are new; and the
memory that they take.

Law: the folder of the files is removed at the end.
"""

from __future__ import annotations

import datetime
import gc
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "src")]
from fourseven.compiler.compile import compile_plan  # noqa: E402
from fourseven.config.load import load  # noqa: E402
from fourseven.control.dataplane import DataPlane  # noqa: E402

RENEWED = 10
ROUNDS = 3  # of each reload; the least of them counts: what is above it is the machine's


def issue(path: Path, name: str) -> None:
    """A certificate that vouches for itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    said = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(said)
        .issuer_name(said)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(made.public_bytes(form) + key.private_bytes(form, *plain))


def resident_mib() -> float:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return int(next(one for one in status.splitlines() if "RssAnon" in one).split()[1]) / 1024


def took(step: Callable[[], object]) -> float:
    """Seconds of a processor."""
    before = time.process_time()
    step()
    return time.process_time() - before


def measure(folder: Path, count: int) -> None:
    names = [f"host{at}.example" for at in range(count)]
    for name in names:
        issue(folder / f"{name}.pem", name)
    listening = socket.create_server(("127.0.0.1", 0))
    where = f"127.0.0.1:{listening.getsockname()[1]}"
    routes = [{"filters": {"respond": {"body": "x"}}}]
    web = {"bind": where, "routes": routes, "tls": {"certificates": [f"{n}.pem" for n in names]}}
    file = folder / "fourseven.yaml"
    file.write_text(yaml.safe_dump({"listeners": {"web": web}}))
    plane = DataPlane(2)
    plane.start()
    try:
        run(plane, file, names, {"web": [listening.fileno()]})
    finally:
        plane.stop()
        listening.close()


def run(plane: DataPlane, file: Path, names: list[str], fds: dict[str, list[int]]) -> None:
    def publish() -> None:
        plane.publish(compile_plan(load(file)), fds)
        while plane.reclaim():
            time.sleep(0.01)

    def renewed() -> float:
        for name in names[:RENEWED]:
            issue(file.parent / f"{name}.pem", name)
        return took(publish)

    bare = resident_mib()
    say("start", f"{took(publish):.2f} s of a processor")
    say("memory", f"{(resident_mib() - bare) * 1024 / len(names):.1f} KiB for each")
    say("reload, nothing is new", f"{min(took(publish) for _ in range(ROUNDS)):.2f} s")
    say(f"reload, {RENEWED} are new", f"{min(renewed() for _ in range(ROUNDS)):.2f} s")


def say(what: str, much: str) -> None:
    print(f"{what + ':':<26}{much}", flush=True)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory(prefix="fourseven-bench-") as folder:
        print(f"{count:,} certificates", flush=True)
        measure(Path(folder), count)


if __name__ == "__main__":
    main()
