"""Holds our signatures against the providers' official libraries, on random bodies.

What a library signs, or a plain HMAC where it only verifies, our ingress must take and the library must accept; the
same with one byte changed, signed under another secret, or too old, both must refuse. What we sign the libraries
must accept, and refuse with one byte changed.

Run by scripts/differential, which makes the environments. A seed gives the same bodies and changes again.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Iterator

from libraries import JavaScript, Library, python_libraries
from program import Endpoint, Program, Receiver
from schemes import BODIES, SCHEMES, Message, Scheme, is_text

# How often each kind of small body is made for each library.
ROUNDS = 3
# Paddle's signatures are good for five seconds: a case that took longer than this, in seconds, is made again, so often.
FRESH = 3
TRIES = 5
OUTGOING = 25
# By style of an outgoing webhook: who signs like that.
STYLES = {"standard": "canonical", "timestamped": "stripe", "sha256": "mollie"}
# How long the program may take to deliver what it was told, in seconds.
DELIVERED_WITHIN = 60


class Differences:
    """What was checked, and what was found."""

    def __init__(self) -> None:
        self.checks: Counter[str] = Counter()
        self.found: list[str] = []

    def expect(self, library: str, what: str, wanted: bool, verdicts: dict[str, bool]) -> None:
        self.checks[library] += 1
        wrong = [who for who, verdict in verdicts.items() if verdict != wanted]
        if wrong:
            must = "be accepted" if wanted else "be refused"
            self.found.append(f"{library}: {what} must {must}, and is not by {' and '.join(wrong)}")


class Check:
    """Everything that is checked of one library and one provider; without a library, of the plain HMAC alone."""

    def __init__(
        self, scheme: Scheme, library: Library | None, program: Program, rng: random.Random, found: Differences
    ) -> None:
        self.scheme = scheme
        self.library = library
        self.name = library.name if library else "a plain HMAC"
        self.program = program
        self.rng = rng
        self.found = found
        self.source = scheme.provider
        self.secret = program.secrets[self.source][1]
        self.other_source = changed(self.source)
        self.other_secret = program.secrets[self.other_source][1]

    def incoming(self) -> None:
        """What they sign, of all kinds."""
        for kind in BODIES:
            for _ in range(1 if kind == "1 MiB" else ROUNDS):
                body = self.scheme.body(self.rng, kind)
                for _ in range(TRIES):
                    began = time.monotonic()
                    verdicts = list(self.verdicts(kind, body))
                    if self.was_in_time(began):
                        break
                for what, wanted, verdict in verdicts:
                    self.found.expect(self.name, f"{self.source}, {kind}: {what}", wanted, verdict)

    def was_in_time(self, began: float) -> bool:
        """Whether what was signed since then cannot have grown too old meanwhile."""
        return not self.scheme.oldest or self.scheme.oldest > 60 or time.monotonic() - began < FRESH

    def verdicts(self, kind: str, body: bytes) -> Iterator[tuple[str, bool, dict[str, bool]]]:
        """Each message that is made of a body: what it is, whether it is good, and who says so."""
        large = kind == "1 MiB"
        message = self.signed(self.secret, body)
        yield "as it was signed", True, self.held(message)
        yield "under another secret", False, self.held(message, other=True)
        for what, forged in self.scheme.forged(self.rng, message):
            yield f"with another {what}", False, self.held(forged)
            if large:
                return
        if self.scheme.oldest and kind == "JSON":
            old = self.signed(self.secret, body, age=self.scheme.oldest + 60)
            yield "too old", False, self.held(old)
        if self.scheme.joined:
            rotated = self.scheme.rotated(self.other_secret, message)
            yield "under two secrets", True, self.held(rotated)
            yield "under two secrets, for the first", True, {"us": self.program.accepts(self.other_source, rotated)}
        if message.headers:
            # We are stricter here: libraries pass over pieces of a header that they never look at.
            scratched = self.scheme.scratched(self.rng, message)
            yield f"with {scratched.headers}", False, {"us": self.program.accepts(self.source, scratched)}

    def held(self, message: Message, other: bool = False) -> dict[str, bool]:
        """Our verdict, and the library's where it can be asked."""
        verdicts = {"us": self.program.accepts(self.other_source if other else self.source, message)}
        if self.library and self.can_be_asked(message.body):
            verdicts[self.name] = self.library.accepts(self.other_secret if other else self.secret, message)
        return verdicts

    def can_be_asked(self, body: bytes) -> bool:
        library = self.library
        return bool(library and (library.takes_bytes or is_text(body)) and (body or library.takes_empty))

    def signed(self, secret: str, body: bytes, age: int = 0) -> Message:
        """A body signed by the library where it can, else by the plain HMAC."""
        identifier = f"msg_{self.rng.randrange(10**15)}"
        at = int(time.time()) - age
        if self.library and self.library.sign and self.can_be_asked(body):
            return self.library.sign(secret, identifier, at, body)
        return self.scheme.sign(secret, identifier, at, body)

    def outgoing(self, receiver: Receiver) -> None:
        """What `send` signs; it writes no signature into a body."""
        if not self.scheme.header:
            return
        for kind in BODIES:
            body = self.scheme.body(self.rng, kind)
            if not (is_text(body) and self.can_be_asked(body)):
                continue
            for _ in range(TRIES):
                began = time.monotonic()
                receiver.taken.clear()
                self.program.send(self.source, body, receiver.url)
                ((_, sent),) = receiver.taken
                names = self.scheme.sign(self.secret, "", 0, body).headers
                message = Message({name: sent.headers.get(name, "") for name in names}, sent.body)
                verdict = self.library.accepts(self.secret, message)
                if verdict or self.was_in_time(began):
                    break
            what = f"{self.source}, {kind}: what `send` signs"
            self.found.expect(self.name, what, True, {self.name: verdict})


def delivered(
    program: Program,
    receiver: Receiver,
    endpoints: list[Endpoint],
    libraries: list[Library],
    rng: random.Random,
    found: Differences,
) -> None:
    """What our outgoing webhooks are signed with: every message that the daemon sends, held against each library that
    verifies the style of its endpoint."""
    scheme = SCHEMES["canonical"]
    for number in range(OUTGOING):
        body = customer(rng, number)
        message = scheme.sign(program.secrets["canonical"][1], f"evt_{number}", int(time.time()), body)
        assert program.accepts("canonical", message), "a customer is recorded"
    end = time.monotonic() + DELIVERED_WITHIN
    while len(receiver.taken) < OUTGOING * len(endpoints):
        if time.monotonic() > end:
            raise RuntimeError(f"only {len(receiver.taken)} messages were delivered in {DELIVERED_WITHIN} s")
        time.sleep(0.05)
    for endpoint in endpoints:
        scheme = SCHEMES[STYLES[endpoint.style]]
        held = [one for one in libraries if one.provider == scheme.provider] or [plain(scheme)]
        for path, sent in list(receiver.taken):
            if endpoint.url.endswith(path):
                for library in held:
                    outgoing(endpoint, scheme, library, sent, rng, found)


def outgoing(
    endpoint: Endpoint, scheme: Scheme, library: Library, sent: Message, rng: random.Random, found: Differences
) -> None:
    """One message, as its library would see it under the header's usual name."""
    headers = {name: sent.headers[name] for name in ("webhook-id", "webhook-timestamp", endpoint.header)}
    if scheme.header != endpoint.header:
        headers = {scheme.header: headers[endpoint.header]}
    message = Message(headers, sent.body)
    what = f"an outgoing webhook, {endpoint.style}"
    verdict = library.accepts(endpoint.secret, message)
    found.expect(library.name, what, True, {library.name: verdict})
    for part, forged in scheme.forged(rng, message):
        verdict = library.accepts(endpoint.secret, forged)
        found.expect(library.name, f"{what} with another {part}", False, {library.name: verdict})
    verdict = library.accepts(scheme.changed_secret(rng, endpoint.secret), message)
    found.expect(library.name, f"{what} under another secret", False, {library.name: verdict})


def plain(scheme: Scheme) -> Library:
    """The scheme's own HMAC, where no library verifies it."""
    return Library("a plain HMAC", scheme.provider, lambda secret, sent: scheme.sign(secret, "", 0, sent.body) == sent)


def customer(rng: random.Random, number: int) -> bytes:
    """A customer of the app with a name that is awkward to write down."""
    name = "".join(rng.choices('aé漢🙂\u202e"\\/<>&\u2028\r\n ', k=rng.randrange(1, 150)))
    event = {
        "id": f"evt_{number}",
        "type": "customer.recorded",
        "occurred_at": datetime.now(timezone.utc).isoformat(),
        "data": {"external_id": f"user_{number}", "customer": {"name": f"A {name} Z"}},
    }
    return json.dumps(event, ensure_ascii=rng.random() < 0.5).encode()


def changed(source: str) -> str:
    """The source of the same provider whose secret has one other byte."""
    return f"{source}-changed"


def run(binary: Path, seed: int, node: str | None, script: Path) -> Differences:
    rng = random.Random(seed)
    found = Differences()
    javascript = JavaScript(node, str(script)) if node else None
    libraries = python_libraries() + (javascript.libraries() if javascript else [])
    secrets = {}
    for name, scheme in SCHEMES.items():
        secret = scheme.secret(rng)
        secrets[name] = (name, secret)
        secrets[changed(name)] = (name, scheme.changed_secret(rng, secret))
    receiver = Receiver()
    endpoints = [
        Endpoint(f"{receiver.url}/{style}", SCHEMES["canonical"].secret(rng), style, header)
        for style, header in zip(STYLES, ("webhook-signature", "x-stamped", "x-hashed"))
    ]
    with tempfile.TemporaryDirectory() as folder:
        program = Program(binary, Path(folder), secrets, endpoints)
        with program.running():
            delivered(program, receiver, endpoints, libraries, rng, found)
            for library in libraries:
                Check(SCHEMES[library.provider], library, program, rng, found).incoming()
            for name in SCHEMES.keys() - {library.provider for library in libraries}:
                Check(SCHEMES[name], None, program, rng, found).incoming()
        other = Receiver()
        for library in libraries:
            Check(SCHEMES[library.provider], library, program, rng, found).outgoing(other)
        other.close()
    receiver.close()
    if javascript:
        javascript.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", type=Path, help="the built program")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--node", help="Node.js, where the JavaScript libraries are installed beside the script")
    parser.add_argument("--script", type=Path, help="libraries.mjs, beside its node_modules")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    found = run(arguments.binary, arguments.seed, arguments.node, arguments.script)
    for name, checks in sorted(found.checks.items()):
        print(f"  {checks:5} checks with {name}")
    for difference in found.found:
        print(f"DIFFERENCE: {difference}")
    print(f"{found.checks.total()} checks, {len(found.found)} differences")
    return bool(found.found)


if __name__ == "__main__":
    sys.exit(main())
