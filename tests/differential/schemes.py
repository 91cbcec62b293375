"""How providers sign, in plain HMACs of Python's own: the words of their documentation, not of our code.

A scheme makes messages for a test: it signs a body, and it forges what it signed by one byte.
"""

import base64
import hashlib
import hmac
import json
import random
import re
import string
import urllib.parse
from typing import Callable, Iterator, NamedTuple

# Any byte that may stand in a header's value, but for the space, which readers trim.
PRINTABLE = string.ascii_letters + string.digits + string.punctuation
BASE64 = string.ascii_letters + string.digits + "+/"
HEX = "0123456789abcdef"
# The largest body that the ingress takes.
SIZE = 1024 * 1024


class Message(NamedTuple):
    """What a provider posts."""

    headers: dict[str, str]
    body: bytes


def is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def other(rng: random.Random, known: str, alphabet: str) -> str:
    """Another character than this one, in either case."""
    return rng.choice([one for one in alphabet if one.lower() != known.lower()])


def changed_at(rng: random.Random, text: str, place: int, alphabet: str) -> str:
    return text[:place] + other(rng, text[place], alphabet) + text[place + 1 :]


def changed_body(rng: random.Random, body: bytes) -> bytes:
    """The body with one byte changed, or added where there is none. What was text stays text."""
    places = [place for place in range(min(len(body), 4096)) if body[place] < 128]
    if not places:
        return body + b"x"
    place = rng.choice(places)
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


class Scheme:
    """A provider that signs its bodies' bytes and says so in headers."""

    def __init__(
        self,
        provider: str,
        header: str,
        sign: Callable[[str, str, int, bytes], dict[str, str]],
        secret: Callable[[random.Random], str] = lambda rng: "".join(rng.choices(BASE64[:-2], k=40)),
        oldest: int | None = None,
        joined: Callable[[str, str], str] | None = None,
    ) -> None:
        self.provider = provider
        self.header = header
        self._sign = sign
        self.secret = secret
        # In seconds: an older signature is refused.
        self.oldest = oldest
        # How two signatures of one message stand in one header, while a secret is replaced.
        self.joined = joined

    def body(self, rng: random.Random, kind: str) -> bytes:
        return BODIES[kind](rng)

    def sign(self, secret: str, identifier: str, at: int, body: bytes) -> Message:
        return Message(self._sign(secret, identifier, at, body), body)

    def changed_secret(self, rng: random.Random, secret: str) -> str:
        """One byte of the key itself: behind a prefix, and not where base64 has idle bits."""
        place = rng.randrange(secret.rfind("_") + 1, len(secret) - 4)
        return changed_at(rng, secret, place, HEX if set(secret) <= set(HEX) else BASE64[:-2])

    def forged(self, rng: random.Random, message: Message) -> Iterator[tuple[str, Message]]:
        """The same with one byte of the body, of the signature, of each other signed header changed."""
        headers, body = message
        yield "body", Message(headers, changed_body(rng, body))
        yield "signature", Message({**headers, self.header: self.changed_signature(rng, headers[self.header])}, body)
        stamp = re.search(r"\bts?=(\d+)", headers[self.header])
        if stamp:
            text = changed_at(rng, headers[self.header], stamp.end(1) - 1, string.digits)
            yield "time", Message({**headers, self.header: text}, body)
        for name, value in headers.items():
            if name != self.header:
                alphabet = string.digits if value.isdigit() else string.ascii_letters
                yield name, Message({**headers, name: changed_at(rng, value, len(value) - 1, alphabet)}, body)

    def rotated(self, secret: str, message: Message) -> Message:
        """The same signed under this secret too, which comes first."""
        text = message.headers[self.header]
        stamp = re.search(r"\bts?=(\d+)", text)
        at = stamp.group(1) if stamp else message.headers[self.header.replace("signature", "timestamp")]
        identifier = message.headers.get(self.header.replace("signature", "id"), "")
        first = self._sign(secret, identifier, int(at), message.body)[self.header]
        return Message({**message.headers, self.header: self.joined(first, text)}, message.body)

    def scratched(self, rng: random.Random, message: Message) -> Message:
        """The same with any byte of any header, but for a space between its parts, changed to any other."""
        name = rng.choice(list(message.headers))
        value = message.headers[name]
        place = rng.choice([place for place, byte in enumerate(value) if byte != " "])
        changed = changed_at(rng, value, place, PRINTABLE)
        return Message({**message.headers, name: changed}, message.body)

    @staticmethod
    def changed_signature(rng: random.Random, text: str) -> str:
        run = re.search(r"[A-Za-z0-9+/]{27,}", text)
        assert run, f"{text} holds no signature"
        # The last character of base64 holds idle bits, which some libraries do not look at.
        place = rng.randrange(run.start(), run.end() - 1)
        return changed_at(rng, text, place, HEX if set(run.group()) <= set(HEX) else BASE64)


class Adyen(Scheme):
    """Adyen signs eight fields of each item, and the signature stands in the item."""

    SIGNED = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference", "eventCode", "success")

    def __init__(self) -> None:
        super().__init__("adyen", "", lambda *_: {}, lambda rng: rng.randbytes(32).hex())

    def body(self, rng: random.Random, kind: str) -> bytes:
        # We refuse an item that holds U+0000, whoever signed it; the libraries do not.
        word = BODIES[kind](rng).decode("utf-8", "replace").replace("\0", "")[: SIZE // 2]
        item = {
            "additionalData": {"hmacSignature": "", "comment": word},
            "amount": {"currency": rng.choice(["EUR", "JPY", "KWD"]), "value": rng.randrange(10**9)},
            "eventCode": "AUTHORISATION",
            "eventDate": "2024-07-01T10:00:00+02:00",
            "merchantAccountCode": "Acme",
            "merchantReference": word[:80],
            "pspReference": "".join(rng.choices(string.ascii_uppercase, k=16)),
            "success": rng.choice(["true", "false"]),
        }
        if rng.random() < 0.5:
            item["originalReference"] = "Ö" + "".join(rng.choices(string.ascii_uppercase, k=15))
        return self.written(item)

    @staticmethod
    def written(item: dict) -> bytes:
        body = {"live": "false", "notificationItems": [{"NotificationRequestItem": item}]}
        return json.dumps(body, ensure_ascii=False, indent=1).replace("\n", "\r\n").encode()

    @staticmethod
    def item(body: bytes) -> dict:
        return json.loads(body)["notificationItems"][0]["NotificationRequestItem"]

    def sign(self, secret: str, identifier: str, at: int, body: bytes) -> Message:
        item = self.item(body)
        amount = item["amount"]
        first, last = self.SIGNED[:4], self.SIGNED[4:]
        fields = [item.get(name, "") for name in first] + [str(amount["value"]), amount["currency"]]
        text = ":".join(fields + [item[name] for name in last])
        signature = base64.b64encode(mac(bytes.fromhex(secret), text.encode()))
        item["additionalData"]["hmacSignature"] = signature.decode()
        return Message({}, self.written(item))

    def forged(self, rng: random.Random, message: Message) -> Iterator[tuple[str, Message]]:
        def changed(change: Callable[[dict], object]) -> Message:
            item = self.item(message.body)
            change(item)
            return Message({}, self.written(item))

        def signature(item: dict) -> None:
            data = item["additionalData"]
            data["hmacSignature"] = self.changed_signature(rng, data["hmacSignature"])

        yield "signature", changed(signature)
        yield "amount", changed(lambda item: item["amount"].update(value=item["amount"]["value"] + 1))
        yield "currency", changed(lambda item: item["amount"].update(currency="EUS"))
        for name in self.SIGNED:
            yield name, changed(lambda item: item.update({name: item.get(name, "") + "x"}))

    def scratched(self, rng: random.Random, message: Message) -> Message:
        return next(self.forged(rng, message))[1]


class Braintree(Scheme):
    """Braintree posts a form: a payload in base64, and its signature beside the public key."""

    def __init__(self) -> None:
        super().__init__("braintree", "", lambda *_: {})

    def body(self, rng: random.Random, kind: str) -> bytes:
        # A form may take three bytes for one of the payload.
        return base64.encodebytes(BODIES[kind](rng)[: SIZE // 4]) or b"\n"

    def sign(self, secret: str, identifier: str, at: int, body: bytes) -> Message:
        key = hashlib.sha1(secret.encode()).digest()
        return self.form(f"public|{mac(key, body, 'sha1').hex()}", body.decode())

    @staticmethod
    def form(signature: str, payload: str) -> Message:
        fields = {"bt_signature": signature, "bt_payload": payload}
        return Message({}, urllib.parse.urlencode(fields).encode())

    @staticmethod
    def fields(message: Message) -> tuple[str, str]:
        fields = dict(urllib.parse.parse_qsl(message.body.decode()))
        return fields["bt_signature"], fields["bt_payload"]

    def forged(self, rng: random.Random, message: Message) -> Iterator[tuple[str, Message]]:
        signature, payload = self.fields(message)
        place = rng.randrange(len(payload))
        yield "payload", self.form(signature, changed_at(rng, payload, place, BASE64))
        yield "signature", self.form(self.changed_signature(rng, signature), payload)


def mac(key: bytes, text: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(key, text, algorithm).digest()


def whole(
    provider: str,
    header: str,
    algorithm: str = "sha256",
    encoded: Callable[[bytes], str] = bytes.hex,
    prefix: str = "",
    before: str = "",
) -> Scheme:
    """The body under the secret's text, in one header."""
    return Scheme(
        provider,
        header,
        lambda secret, _id, _at, body: {
            header: prefix + encoded(mac(secret.encode(), before.encode() + body, algorithm))
        },
    )


def b64(signature: bytes) -> str:
    return base64.b64encode(signature).decode()


def standard(provider: str, family: str = "webhook", prefix: str = "whsec_", raw: bool = False) -> Scheme:
    """Standard Webhooks; `raw` where the secret's whole text is the key."""

    def sign(secret: str, identifier: str, at: int, body: bytes) -> dict[str, str]:
        key = secret.encode() if raw else base64.b64decode(secret.removeprefix(prefix))
        signature = b64(mac(key, f"{identifier}.{at}.".encode() + body))
        names = (f"{family}-id", f"{family}-timestamp", f"{family}-signature")
        return dict(zip(names, (identifier, str(at), f"v1,{signature}")))

    def secret(rng: random.Random) -> str:
        return prefix + b64(rng.randbytes(rng.randrange(24, 65)))

    return Scheme(provider, f"{family}-signature", sign, secret, 300, "{} {}".format)


def stripe(secret: str, _id: str, at: int, body: bytes) -> dict[str, str]:
    signature = mac(secret.encode(), f"{at}.".encode() + body).hex()
    return {"stripe-signature": f"t={at},v1={signature}"}


def workos(secret: str, _id: str, at: int, body: bytes) -> dict[str, str]:
    signature = mac(secret.encode(), f"{at}000.".encode() + body).hex()
    return {"workos-signature": f"t={at}000, v1={signature}"}


def paddle(secret: str, _id: str, at: int, body: bytes) -> dict[str, str]:
    signature = mac(secret.encode(), f"{at}:".encode() + body).hex()
    return {"paddle-signature": f"ts={at};h1={signature}"}


def whsec(rng: random.Random) -> str:
    return "whsec_" + "".join(rng.choices(BASE64[:-2], k=32))


SQUARE_URL = "https://example.org/webhooks/square?a=b&c=d"

SCHEMES = {
    scheme.provider: scheme
    for scheme in (
        Scheme("stripe", "stripe-signature", stripe, whsec, 300, lambda first, last: first + last[last.index(",") :]),
        Scheme("workos", "workos-signature", workos, oldest=180),
        Scheme(
            "paddle",
            "paddle-signature",
            paddle,
            lambda rng: "pdl_ntfset_" + whsec(rng)[6:],
            5,
            lambda first, last: first + last[last.index(";") :],
        ),
        standard("canonical"),
        standard("dodo-payments"),
        standard("firebase"),
        standard("supabase", prefix="v1,whsec_"),
        standard("polar", prefix="polar_whs_", raw=True),
        standard("clerk", family="svix"),
        standard("stytch", family="svix"),
        whole("razorpay", "x-razorpay-signature"),
        whole("gocardless", "webhook-signature"),
        whole("square", "x-square-hmacsha256-signature", encoded=b64, before=SQUARE_URL),
        Adyen(),
        Braintree(),
        # Those of whom there is no library that verifies: against the HMAC alone.
        whole("paystack", "x-paystack-signature", "sha512"),
        whole("monnify", "monnify-signature", "sha512"),
        whole("flutterwave-v4", "flutterwave-signature", encoded=b64),
        whole("lemon-squeezy", "x-signature"),
        whole("coinbase-commerce", "x-cc-webhook-signature"),
        whole("mollie", "x-mollie-signature", prefix="sha256="),
        whole("logto", "logto-signature-sha-256"),
    )
}


def words(rng: random.Random, alphabet: str, most: int = 400) -> str:
    return "".join(rng.choices(alphabet, k=rng.randrange(1, most)))


# Bodies of every kind that the wire may carry. Most are no JSON: a signature is of bytes.
BODIES: dict[str, Callable[[random.Random], bytes]] = {
    "empty": lambda rng: b"",
    "JSON": lambda rng: json.dumps({"id": words(rng, BASE64), "n": rng.random(), "list": [None, {}, "é"]}).encode(),
    "non-ASCII": lambda rng: "é".encode() + words(rng, "aßéλЖ漢字🙂\u202e\ufeff\x00\x7f").encode(),
    "CRLF": lambda rng: words(rng, "a {}\r\n\t").encode() + b"\r\n",
    "no UTF-8": lambda rng: b"\xff{" + rng.randbytes(rng.randrange(1, 400)) + b"\xc3",
    "1 MiB": lambda rng: b'{"a":"' + ("é" + words(rng, BASE64)).encode().ljust(SIZE - 8) + b'"}',
}
