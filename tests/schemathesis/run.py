"""Asks a running program all that its own description allows, and much that it does not: no answer may be a failure of
ours, none may be other than /openapi.json says, and what one answer names the next requests ask for.

Run by scripts/schemathesis, which makes the environment; schemathesis.toml beside this file says what is asked, and
hooks.py how links are followed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from program import Program

# How long all requests together may take, in seconds.
RUNS_WITHIN = 240
# How long the program may take to apply what it was sent, in seconds.
APPLIED_WITHIN = 30
SECRET = "whsec_bWFuZHkgYmFrZXMgYSBsYXJnZSBjYWtlIGZvciBBZGE="
# What the app tells of first, so that lists are not empty: a user, what she paid, a body that is of no use, and a
# conflict.
TOLD = [
    ("customer.recorded", {"external_id": "user-1", "customer": {"name": "Ada", "email": "ada@example.org"}}),
    ("payment.recorded", {"external_id": "user-1", "payment": {
        "id": "pi_1", "amount": 4200, "currency": "USD", "status": "succeeded"}}),
    ("payment.recorded", {"external_id": "user-1", "payment": {
        "id": "pi_1", "amount": 4200, "currency": "EUR", "status": "succeeded"}}),
    ("subscription.recorded", {"external_id": "user-1", "subscription": {"id": "sub_1", "status": "active"}}),
    ("payment.recorded", {"external_id": "user-2", "payment": {
        "id": "pi_2", "amount": 900, "currency": "USD", "status": "pending"}}),
    ("payment.recorded", {"external_id": "user-1"}),
]


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("program", type=Path)
    arguments.add_argument("more", nargs="*", help="given to schemathesis")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = Program(given.program.absolute(), Path(folder), {"app": ("canonical", SECRET)}, [])
        with program.running():
            key = json.loads(command(program, "key", "create", "--environment", "live", "--scope", "admin", "--json"))
            seed(program, key["key"])
            failed = ask(program, key["key"], given.more)
        log = (Path(folder) / "log").read_text()
    errors = [line for line in log.splitlines() if " ERROR " in line or '"level":"ERROR"' in line or "panicked" in line]
    for line in errors:
        print(f"the program logged: {line}", file=sys.stderr)
    return 1 if failed or errors else 0


def command(program: Program, *arguments: str) -> str:
    done = subprocess.run(
        [program.binary, *arguments], env=program.environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments[:2])} failed: {done.stderr}")
    return done.stdout


def seed(program: Program, key: str) -> None:
    """Tells the program something, and waits until it is known."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    # Nobody listens there: what is sent fails at once.
    endpoint = json.dumps({"url": "https://127.0.0.1:9/", "name": "seed"}).encode()
    status = program.request("POST", "/v1/webhook-endpoints", headers, endpoint)
    if status != 201:
        raise RuntimeError(f"an endpoint cannot be made: {status}")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for number, (kind, data) in enumerate(TOLD):
        body = json.dumps({"id": f"seed-{number}", "type": kind, "occurred_at": now, "data": data}).encode()
        program.send("app", body, "http://{}:{}/ingest/app".format(*program.address))
    end = time.monotonic() + APPLIED_WITHIN
    while program.request("GET", "/v1/customers/lookup?external_id=user-2", headers) != 200:
        if time.monotonic() > end:
            raise RuntimeError("what the program was told is not known in time")
        time.sleep(0.1)


def ask(program: Program, key: str, more: list[str]) -> bool:
    """Whether anything was found."""
    here = Path(__file__).parent
    address = "http://{}:{}".format(*program.address)
    asking = [Path(sys.executable).parent / "schemathesis", "--config-file", here / "schemathesis.toml", "run",
              f"{address}/openapi.json", "--url", address, "--no-color", *more]
    # As whoever runs the program has it: hooks.py makes keys.
    environment = {name: value for name, value in program.environment.items() if not name.lower().endswith("_proxy")}
    environment |= {"API_KEY": key, "PROGRAM": str(program.binary), "SCHEMATHESIS_HOOKS": str(here / "hooks.py")}
    done = subprocess.run(asking, env=environment, cwd=program.folder, timeout=RUNS_WITHIN, check=False)
    return done.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
