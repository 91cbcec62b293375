"""The official libraries, each asked two things: sign this, and do you accept that.

Nothing here knows how our verifier works. What a library cannot be asked (most take text, and so no body that is no
UTF-8) is asked of nobody but the plain HMAC.
"""

import base64
import importlib.util
import json
import subprocess
import traceback
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any, Callable
from xml.parsers.expat import ExpatError

from schemes import SQUARE_URL, Adyen, Braintree, Message

Signs = Callable[[str, str, int, bytes], Message]
Accepts = Callable[[str, Message], bool]


class Library:
    """One official library, as far as it knows one provider."""

    def __init__(
        self,
        name: str,
        provider: str,
        accepts: Accepts,
        sign: Signs | None = None,
        *,
        takes_bytes: bool = False,
        takes_empty: bool = True,
    ) -> None:
        self.name = name
        self.provider = provider
        self.accepts = accepts
        self.sign = sign
        # Whether it can be asked of any bytes, or of text alone.
        self.takes_bytes = takes_bytes
        # Whether it says anything of an empty body but that it is empty.
        self.takes_empty = takes_empty


def refused_by(*errors: type[Exception]) -> Callable[[Callable[[], object]], bool]:
    """Whether a call gets by without one of the errors that mean a bad signature."""

    def ask(verify: Callable[[], object]) -> bool:
        try:
            verify()
        except errors:
            return False
        return True

    return ask


# Errors of a library, each with the function that raises it.
Raised = tuple[tuple[type[Exception], str], ...]

NO_JSON: Raised = (
    (json.JSONDecodeError, "json.decoder.decode"),
    (json.JSONDecodeError, "json.decoder.raw_decode"),
    (json.JSONDecodeError, "json.loads"),
    (UnicodeDecodeError, "json.loads"),
)


def accepted_but_for(raised: Raised, verify: Callable[[], object], refusal: type[Exception]) -> bool:
    """Whether a call gets past the signature: to the end, or to an error of reading the body, which here is rarely one
    of the library's own. Any other error is one of ours, or of the library's check."""
    try:
        verify()
    except refusal:
        return False
    except Exception as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        place = f"{frame.f_globals['__name__']}.{frame.f_code.co_name}"
        if not any(isinstance(error, kind) and place == known for kind, known in raised):
            raise RuntimeError(f"{type(error).__name__} in {place} is no error of reading a body") from error
    return True


def python_libraries() -> list[Library]:
    """Those that are written in Python; none where they are not installed."""
    if not importlib.util.find_spec("standardwebhooks"):
        return []
    return [
        *of_stripe(),
        *of_standard_webhooks(),
        *of_polar(),
        *of_paddle(),
        *of_the_body_alone(),
        *of_adyen(),
        *of_braintree(),
    ]


def of_stripe() -> list[Library]:
    from stripe import SignatureVerificationError, WebhookSignature

    asked = refused_by(SignatureVerificationError)
    return [
        Library(
            "stripe (Python)",
            "stripe",
            lambda secret, sent: asked(
                lambda: WebhookSignature.verify_header(sent.body, sent.headers["stripe-signature"], secret, 300)
            ),
            lambda secret, _id, at, body: Message(
                {"stripe-signature": WebhookSignature.generate_signature_header(body.decode(), secret, at)}, body
            ),
        )
    ]


def of_standard_webhooks() -> list[Library]:
    import svix.webhooks
    from dodopayments import DodoPayments
    from standardwebhooks import Webhook, WebhookVerificationError

    asked = refused_by(WebhookVerificationError)
    dodo = DodoPayments(bearer_token="none")

    def signs(webhook: type, family: str) -> Signs:
        def sign(secret: str, identifier: str, at: int, body: bytes) -> Message:
            time = datetime.fromtimestamp(at, timezone.utc)
            signature = webhook(secret.removeprefix("v1,")).sign(identifier, time, body.decode())
            values = {"id": identifier, "timestamp": str(at), "signature": signature}
            return Message({f"{family}-{name}": value for name, value in values.items()}, body)

        return sign

    def accepts(secret: str, sent: Message) -> bool:
        webhook = Webhook(secret.removeprefix("v1,"))
        return asked(lambda: webhook.verify(sent.body, sent.headers, json_parse=False))

    def svix_accepts(secret: str, sent: Message) -> bool:
        webhook = svix.webhooks.Webhook(secret)
        return refused_by(svix.webhooks.WebhookVerificationError, WebhookVerificationError)(
            lambda: webhook.verify(sent.body, sent.headers)
        )

    def dodo_accepts(secret: str, sent: Message) -> bool:
        text = sent.body.decode()
        return accepted_but_for(
            NO_JSON,
            lambda: dodo.webhooks.unwrap(text, headers=sent.headers, key=secret),
            WebhookVerificationError,
        )

    svix_signs = signs(svix.webhooks.Webhook, "svix")
    return [
        *(
            Library("standardwebhooks (Python)", provider, accepts, signs(Webhook, "webhook"))
            for provider in ("canonical", "firebase", "supabase")
        ),
        *(Library("svix", provider, svix_accepts, svix_signs) for provider in ("clerk", "stytch")),
        Library("svix", "canonical", svix_accepts, signs(svix.webhooks.Webhook, "webhook")),
        Library("dodopayments", "dodo-payments", dodo_accepts),
    ]


def of_polar() -> list[Library]:
    from polar.webhooks import PolarWebhookError, PolarWebhookVerificationError, validate_event

    def accepts(secret: str, sent: Message) -> bool:
        try:
            validate_event(sent.body, sent.headers, secret, frozenset(), lambda data: data)
        except PolarWebhookVerificationError:
            return False
        except PolarWebhookError:
            pass
        return True

    return [Library("polar-sdk", "polar", accepts)]


def of_paddle() -> list[Library]:
    from paddle_billing.Notifications import Secret, Verifier

    def accepts(secret: str, sent: Message) -> bool:
        headers = {"Paddle-Signature": sent.headers["paddle-signature"]}
        request = SimpleNamespace(body=sent.body, headers=headers)
        return Verifier().verify(request, Secret(secret))

    return [Library("paddle-python-sdk", "paddle", accepts)]


def of_the_body_alone() -> list[Library]:
    from gocardless_pro import webhooks as gocardless
    from gocardless_pro.errors import InvalidSignatureError
    from razorpay import Utility
    from razorpay.errors import SignatureVerificationError
    from square.utils.webhooks_helper import verify_signature
    from workos.webhooks._verification import verify_header

    def gocardless_accepts(secret: str, sent: Message) -> bool:
        no_events: Raised = ((KeyError, "gocardless_pro.webhooks.parse"), (TypeError, "gocardless_pro.webhooks.parse"))
        return accepted_but_for(
            NO_JSON + no_events,
            lambda: gocardless.parse(sent.body, secret, sent.headers["webhook-signature"]),
            InvalidSignatureError,
        )

    return [
        Library("gocardless_pro", "gocardless", gocardless_accepts, takes_bytes=True),
        Library(
            "razorpay",
            "razorpay",
            lambda secret, sent: refused_by(SignatureVerificationError)(
                lambda: Utility().verify_webhook_signature(
                    sent.body.decode(), sent.headers["x-razorpay-signature"], secret
                )
            ),
        ),
        Library(
            "squareup",
            "square",
            lambda secret, sent: verify_signature(
                request_body=sent.body.decode(),
                signature_header=sent.headers["x-square-hmacsha256-signature"],
                signature_key=secret,
                notification_url=SQUARE_URL,
            ),
            takes_empty=False,
        ),
        Library(
            "workos",
            "workos",
            lambda secret, sent: refused_by(ValueError)(
                lambda: verify_header(
                    event_body=sent.body, event_signature=sent.headers["workos-signature"], secret=secret
                )
            ),
        ),
    ]


def of_adyen() -> list[Library]:
    from Adyen.util import generate_notification_sig, is_valid_hmac_notification

    def sign(secret: str, _id: str, _at: int, body: bytes) -> Message:
        item = Adyen.item(body)
        data = item.pop("additionalData")
        signature = generate_notification_sig(item, secret).decode()
        return Message({}, Adyen.written({**item, "additionalData": {**data, "hmacSignature": signature}}))

    def accepts(secret: str, sent: Message) -> bool:
        return is_valid_hmac_notification(json.loads(sent.body), secret) is True

    return [Library("Adyen", "adyen", accepts, sign)]


# Of a payload that is no notification in XML.
NO_XML: Raised = (
    (UnicodeDecodeError, "braintree.util.parser.__init__"),
    (ExpatError, "xml.dom.expatbuilder.parseString"),
    (KeyError, "braintree.webhook_notification_gateway.parse"),
)


def of_braintree() -> list[Library]:
    from braintree import BraintreeGateway, Configuration, Environment, WebhookNotification
    from braintree.exceptions.invalid_signature_error import InvalidSignatureError

    def gateway(secret: str) -> BraintreeGateway:
        return BraintreeGateway(Configuration(Environment.Sandbox, "merchant", "public", secret))

    def sign(secret: str, identifier: str, _at: int, _body: bytes) -> Message:
        kind = WebhookNotification.Kind.SubscriptionChargedSuccessfully
        sample = gateway(secret).webhook_testing.sample_notification(kind, identifier)
        return Braintree.form(sample["bt_signature"], sample["bt_payload"].decode())

    def accepts(secret: str, sent: Message) -> bool:
        signature, payload = Braintree.fields(sent)
        return accepted_but_for(
            NO_XML,
            lambda: gateway(secret).webhook_notification.parse(signature, payload),
            InvalidSignatureError,
        )

    return [
        # It signs samples of its own, whatever the body.
        Library("braintree", "braintree", accepts, sign),
        Library("braintree", "braintree", accepts),
    ]


class JavaScript:
    """The libraries that are written in JavaScript: a Node.js process that answers line by line."""

    def __init__(self, node: str, script: str) -> None:
        self.process = subprocess.Popen([node, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, library: str, ask: str, body: bytes, **request: object) -> Any:
        asked = {"library": library, "ask": ask, "body": base64.b64encode(body).decode(), **request}
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "it ended"}
        if "error" in answer:
            raise RuntimeError(f"the library {library} failed at {ask}: {answer['error']}")
        return answer["answer"]

    def libraries(self) -> list[Library]:
        def library(name: str, provider: str, signs: bool = False, takes_empty: bool = True) -> Library:
            def sign(secret: str, identifier: str, at: int, body: bytes) -> Message:
                asked = {"secret": secret.removeprefix("v1,"), "id": identifier, "at": at}
                return Message(self.ask(name, "sign", body, **asked), body)

            def accepts(secret: str, sent: Message) -> bool:
                asked = {"secret": secret.removeprefix("v1,"), "headers": sent.headers}
                return self.ask(name, "accepts", sent.body, **asked) is True

            sign_if = sign if signs else None
            return Library(f"{name} (JavaScript)", provider, accepts, sign_if, takes_empty=takes_empty)

        return [
            library("stripe", "stripe", signs=True, takes_empty=False),
            *(library("standardwebhooks", name, signs=True) for name in ("canonical", "firebase", "supabase")),
            library("svix", "canonical", signs=True),
            library("@clerk/backend", "clerk"),
            library("@paddle/paddle-node-sdk", "paddle"),
        ]

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(10)
