"""Runs the official clients of Reevit and Bias, unchanged, over every call about customers, against a running program
whose address is all that they are told. Revstack's client is on no registry: its calls are made as its source makes
them. What came back is checked, and what our own API then says.

Run by scripts/dialects, which makes the environment. It takes the names of the clients to run.
"""

import argparse
import asyncio
import http.client
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

from program import Program

# How long the program may take to apply what it was sent, in seconds.
APPLIED_WITHIN = 30
SECRET = "whsec_bWFuZHkgYmFrZXMgYSBsYXJnZSBjYWtlIGZvciBBZGE="


class Ours:
    """The running program: its keys, its own API, and payments that it hears of."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.address = "{}:{}".format(*program.address)
        self.keys = {scope: self.key("live", scope) for scope in ("read", "admin")}
        self.test_key = self.key("test", "admin")
        self.checks = 0
        self.failures: list[str] = []

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.program.binary, *arguments], env=self.program.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments[:2])} failed: {done.stderr}")
        return done.stdout

    def key(self, environment: str, scope: str) -> str:
        made = self.command("key", "create", "--environment", environment, "--scope", scope, "--json")
        return json.loads(made)["key"]

    def request(
        self, method: str, path: str, headers: dict[str, str], body: Any = None
    ) -> tuple[int, http.client.HTTPMessage, Any]:
        """Status, headers and JSON of an answer."""
        connection = http.client.HTTPConnection(*self.program.address, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, answer.headers, json.loads(text) if text else None
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """What our own API says; None for 404."""
        status, _, body = self.request("GET", path, {"authorization": f"Bearer {self.keys['admin']}"})
        if status not in (200, 404):
            raise RuntimeError(f"{path} answered {status}: {body}")
        return body if status == 200 else None

    def by_name(self, external_id: str) -> Any:
        return self.get(f"/v1/customers/lookup?external_id={external_id}")

    def paid(self, external_id: str, identifier: str, amount: int) -> None:
        """Lets the app tell of a payment by its own event, and waits until it counts."""
        payment = {"id": identifier, "amount": amount, "currency": "USD", "status": "succeeded"}
        event = {
            "id": f"evt_{identifier}",
            "type": "payment.recorded",
            "occurred_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "data": {"external_id": external_id, "payment": payment},
        }
        before = (self.by_name(external_id) or {}).get("payment_count", 0)
        with tempfile.NamedTemporaryFile("w", dir=self.program.folder) as file:
            json.dump(event, file)
            file.flush()
            self.command("send", "app", file.name)
        end = time.monotonic() + APPLIED_WITHIN
        while (self.by_name(external_id) or {}).get("payment_count", 0) == before:
            if time.monotonic() > end:
                raise RuntimeError(f"the payment {identifier} was not applied in {APPLIED_WITHIN} s")
            time.sleep(0.02)

    def expect(self, what: str, found: Any, wanted: Any) -> None:
        self.checks += 1
        if found != wanted:
            self.failures.append(f"{what}: {found!r}, and should be {wanted!r}")

    def refused(self, what: str, error: type[Exception], call: Callable[[], Any], **wanted: Any) -> None:
        """A call raises the client's own error, with these attributes."""
        try:
            answer = call()
        except error as raised:
            self.expect(what, {name: getattr(raised, name) for name in wanted}, wanted)
        else:
            self.expect(what, answer, error)


def bias(ours: Ours) -> None:
    import biaspay

    base_url = f"http://{ours.address}/compat/bias"
    client = biaspay.Bias(api_key=ours.keys["admin"], base_url=base_url)
    customers = client.customers

    ada = customers.create(
        name="Ada", email="ada@example.org", phone="+15555550100", metadata={"plan": "pro", "seats": 3, "beta": True}
    )
    ours.expect("Bias create", (ada.object, ada.live, ada.deleted), ("customer", True, False))
    ours.expect("Bias create, fields", (ada.name, ada.email, ada.phone), ("Ada", "ada@example.org", "+15555550100"))
    ours.expect("Bias create, times", abs(ada.created_at / 1000 - time.time()) < 60, True)
    ours.expect("Bias create, ours", ours.get(f"/v1/customers/{ada.id}")["metadata"], {"plan": "pro", "seats": 3, "beta": True})
    empty = customers.create()
    ours.expect("Bias create of nothing", (empty.name, empty.email, empty.phone, empty.balance), (None, None, None, 0))
    nulls = customers.create(name=None, shipping_details=None, default_payment_method=None, metadata=None)
    ours.expect("Bias create of nulls", (nulls.name, nulls.shipping_details), (None, None))
    ours.expect("Bias get", customers.get(ada.id), ada)

    changed = customers.update(ada.id, name=None, metadata={"plan": None, "tier": "gold"})
    ours.expect("Bias update", (changed.name, changed.email), (None, "ada@example.org"))
    own = ours.get(f"/v1/customers/{ada.id}")
    ours.expect("Bias update, ours", (own["name"], own["metadata"]), (None, {"seats": 3, "beta": True, "tier": "gold"}))
    ours.expect("Bias update, metadata cleared", customers.update(ada.id, metadata=None).id, ada.id)
    ours.expect("Bias update, metadata cleared, ours", ours.get(f"/v1/customers/{ada.id}")["metadata"], {})

    numbered = [customers.create(name=f"Number {number}").id for number in range(7)]
    newest = list(reversed(numbered)) + [nulls.id, empty.id, ada.id]
    paged = [customer.id for customer in customers.list(limit=3).auto_paging_iter()]
    ours.expect("Bias list, all pages", paged, newest)
    before = customers.list(limit=2, ending_before=newest[4])
    ours.expect("Bias list, before", ([it.id for it in before], before.has_more), (newest[2:4], True))
    filters = {"name": {"or": ["number 0", {"ends_with": "6"}]}}
    ours.expect("Bias list, or", [it.id for it in customers.list(filters=filters)], [numbered[6], numbered[0]])
    filters = {"and": [{"created_at": {"gte": ada.created_at, "lt": ada.created_at + 1}}, {"email": "ADA@example.org"}]}
    ours.expect("Bias list, and", [it.id for it in customers.list(filters=filters)], [ada.id])
    typed = biaspay.CustomerFilters(created_at=ada.created_at, email={"exists": True})
    ours.expect("Bias list, typed", [it.id for it in customers.list(filters=typed)], [ada.id])

    async def at_once() -> list[str]:
        async with biaspay.AsyncBias(api_key=ours.keys["read"], base_url=base_url) as reader:
            return [it.id async for it in reader.customers.list(limit=4).auto_paging_iter()]

    ours.expect("Bias list, asynchronous", asyncio.run(at_once()), newest)

    invalid = biaspay.InvalidRequestError
    ours.refused("Bias, a wrong field", invalid, lambda: customers.update(ada.id, phone="123"),
                 status_code=400, code="invalid_parameters", param="phone", live=True)
    ours.refused("Bias, what is not kept", invalid, lambda: customers.create(default_payment_method="pm_1"),
                 status_code=400, param="default_payment_method")
    ours.refused("Bias, a wrong filter", invalid, lambda: customers.list(filters={"balance": {"gt": 1}}),
                 status_code=400, param="filters.balance")
    ours.refused("Bias, an unknown cursor", invalid, lambda: customers.list(starting_after="cus_x"),
                 status_code=400, param="starting_after")
    stranger = biaspay.Bias(api_key="sk_live_nobody", base_url=base_url)
    ours.refused("Bias, an unknown key", biaspay.AuthenticationError, lambda: stranger.customers.list(),
                 status_code=401, code="invalid_api_key")
    other = biaspay.Bias(api_key=ours.test_key, base_url=base_url)
    ours.refused("Bias, another environment", invalid, lambda: other.customers.get(ada.id), status_code=404, live=False)
    ours.expect("Bias, another environment's list", list(other.customers.list()), [])

    gone = customers.delete(ada.id)
    ours.expect("Bias delete", (gone["id"], gone["deleted"], gone["email"]), (ada.id, True, None))
    ours.refused("Bias, what is deleted", invalid, lambda: customers.get(ada.id), status_code=404)
    ours.expect("Bias delete, ours", ours.get(f"/v1/customers/{ada.id}"), None)
    ours.refused("Bias, a reader deletes", biaspay.InvalidRequestError,
                 lambda: biaspay.Bias(api_key=ours.keys["read"], base_url=base_url).customers.delete(empty.id),
                 status_code=403, code="insufficient_scope")


def reevit(ours: Ours) -> None:
    from reevit import Reevit, ReevitAPIError

    base_url = f"http://{ours.address}/compat/reevit"
    customers = Reevit(ours.keys["admin"], org_id="org_1", base_url=base_url).customers

    new = {"external_id": "kwame", "email": "kwame@example.org", "name": "Kwame", "phone": "+233241234567",
           "tags": ["vip"], "metadata": {"source": "mobile"}}
    kwame = customers.create(new, idempotency_key="create-1")
    ours.expect("Reevit create", {name: kwame[name] for name in new}, new)
    ours.expect("Reevit create, again", customers.create(new, idempotency_key="create-1"), kwame)
    ours.refused("Reevit create, taken", ReevitAPIError, lambda: customers.create(new), status_code=409,
                 code="external_id_taken", details={"customer_id": kwame["id"], "param": "external_id"})
    ama = customers.create({"external_id": "ama", "tags": ["vip", "beta"]})
    ours.expect("Reevit get", customers.get(kwame["id"]), kwame)
    ours.expect("Reevit lookup", customers.lookup("ama"), ama)

    ours.paid("kwame", "pay_1", 5000)
    ours.paid("ama", "pay_2", 1000)
    ours.paid("ama", "pay_3", 1500)
    shown = customers.get(kwame["id"])
    figures = ("total_amount", "total_spent", "total_payments", "payment_count", "successful_payments")
    ours.expect("Reevit figures", [shown[name] for name in figures], [5000, 5000, 1, 1, 1])
    ours.expect("Reevit last payment", shown["last_payment_at"], ours.by_name("kwame")["last_payment_at"])
    top = customers.top(limit=2, metric="total_spent", period="30d")
    ours.expect("Reevit top", [it["external_id"] for it in top], ["kwame", "ama"])
    top = customers.top(metric="payment_count")
    ours.expect("Reevit top, by number", [it["external_id"] for it in top], ["ama", "kwame"])
    history = customers.payment_history(ama["id"], limit=1)
    ours.expect("Reevit history", [(it["amount"], it["status"], it["reference"]) for it in history], [(1500, "succeeded", "pay_3")])

    found = {
        "by name": customers.list(external_id="ama"),
        "search": customers.list(search="KWAME"),
        "tags": customers.list(tags="vip,beta"),
        "spend": customers.list(min_spend=2000, max_spend=3000, currency="USD"),
        "sorted": customers.list(sort_by="total_amount", limit=1),
        "page": customers.list(limit=1, offset=0, search="ama"),
    }
    names = {what: [it["external_id"] for it in listed] for what, listed in found.items()}
    ours.expect("Reevit list", names, {"by name": ["ama"], "search": ["kwame"], "tags": ["ama"], "spend": ["ama"],
                                       "sorted": ["kwame"], "page": ["ama"]})

    changed = customers.update(kwame["id"], {"name": None, "tags": ["gold"], "metadata": {"source": None, "n": 1}})
    ours.expect("Reevit update", (changed["name"], changed["tags"], changed["metadata"]), (None, ["gold"], {"n": 1}))
    own = ours.by_name("kwame")
    ours.expect("Reevit update, ours", (own["name"], own["tags"], own["email"]), (None, ["gold"], "kwame@example.org"))
    ours.refused("Reevit, a wrong field", ReevitAPIError, lambda: customers.update(kwame["id"], {"phone": "024"}),
                 status_code=400, code="validation_error", details={"param": "phone"})
    ours.refused("Reevit, a wrong parameter", ReevitAPIError, lambda: customers.list(min_spend="much"),
                 status_code=400, details={"param": "min_spend"})
    stranger = Reevit("pfk_live_org.secret", org_id="org_1", base_url=base_url).customers
    ours.refused("Reevit, an unknown key", ReevitAPIError, lambda: stranger.list(), status_code=401, code="unauthorized")
    other = Reevit(ours.test_key, org_id="org_1", base_url=base_url).customers
    ours.expect("Reevit, another environment", other.list(), [])
    ours.refused("Reevit, another environment's id", ReevitAPIError, lambda: other.get(ama["id"]), status_code=404)

    ours.expect("Reevit delete", customers.delete(ama["id"], idempotency_key="delete-1"), None)
    ours.refused("Reevit, what is deleted", ReevitAPIError, lambda: customers.get(ama["id"]), status_code=404, code="not_found")
    ours.expect("Reevit delete, again", customers.delete(ama["id"], idempotency_key="delete-1"), None)
    ours.expect("Reevit delete, ours", ours.by_name("ama"), None)
    amounts = [payment["amount"] for payment in ours.get("/v1/payments")["data"] if payment["customer_id"] is None]
    ours.expect("Reevit delete, payments stay", sorted(amounts), [1000, 1500])


class RevstackError(Exception):
    """What Revstack's client raises, from the same fields of the answer."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(body.get("message"))
        self.status = status
        self.code = body.get("code", "UNKNOWN_ERROR")
        self.request_id = body.get("requestId")


def revstack(ours: Ours) -> None:
    def call(method: str, path: str, body: Any = None, key: str = ours.keys["admin"]) -> Any:
        """One request of its client: these headers, and no others of its own."""
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        status, _, answer = ours.request(method, f"/compat/revstack{path}", headers, body)
        if not 200 <= status < 300:
            raise RevstackError(status, answer)
        return answer

    new = {"customerId": "user-123", "email": "john@acme.com", "name": "John Doe", "metadata": {"plan": "pro"}}
    john = call("POST", "/customers", new)
    ours.expect("Revstack identify", sorted(john), ["createdAt", "email", "environmentId", "id", "isAnonymous", "metadata"])
    ours.expect("Revstack identify, the id", john["id"].startswith("usr_"), True)
    ours.expect("Revstack identify, again", call("POST", "/customers", new), john)
    more = call("POST", "/customers", {"customerId": "user-123", "metadata": {"seats": 3}})
    ours.expect("Revstack identify, merged", more["metadata"], {"plan": "pro", "seats": 3})
    own = ours.by_name("user-123")
    ours.expect("Revstack identify, ours", (own["name"], own["email"]), ("John Doe", "john@acme.com"))
    for name in (john["id"], own["id"], "user-123"):
        ours.expect(f"Revstack get {name}", call("GET", f"/customers/{name}")["id"], john["id"])

    changed = call("PATCH", "/customers/user-123", {"email": "j@acme.com", "metadata": {"plan": "max"}})
    ours.expect("Revstack update", (changed["email"], changed["metadata"]), ("j@acme.com", {"plan": "max", "seats": 3}))
    call("POST", "/customers", {"customerId": "user-124"})
    page = call("GET", "/customers?limit=1&offset=1")
    everybody = ours.get("/v1/customers?offset=0")["total"]
    ours.expect("Revstack list", (len(page["data"]), page["total"], page["hasMore"]), (1, everybody, everybody > 2))

    ours.paid("user-123", "pay_9", 700)
    ours.refused("Revstack, nobody", RevstackError, lambda: call("GET", "/customers/usr_not_exists"),
                 status=404, code="CUSTOMER_NOT_FOUND")
    ours.refused("Revstack, an unknown key", RevstackError, lambda: call("GET", "/customers", key="sk_live_x"),
                 status=401, code="INVALID_API_KEY")
    ours.refused("Revstack, a wrong field", RevstackError, lambda: call("PATCH", "/customers/user-123", {"phone": "1"}),
                 status=400, code="UNKNOWN_PARAMETER")
    ours.refused("Revstack, another environment", RevstackError,
                 lambda: call("GET", f"/customers/{john['id']}", key=ours.test_key), status=404)
    ours.expect("Revstack delete", call("DELETE", f"/customers/{john['id']}"), {"success": True})
    ours.expect("Revstack delete, ours", ours.by_name("user-123"), None)
    kept = [payment for payment in ours.get("/v1/payments")["data"] if payment["payment_id"] == "pay_9"]
    ours.expect("Revstack delete, payments too", kept, [])
    ours.refused("Revstack delete, again", RevstackError, lambda: call("DELETE", f"/customers/{john['id']}"), status=404)


CLIENTS = {"Bias": bias, "Reevit": reevit, "Revstack": revstack}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", type=Path, help="the built program")
    parser.add_argument("clients", nargs="+", choices=CLIENTS, help="whose calls to make")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = Program(arguments.binary.resolve(), Path(folder), {"app": ("canonical", SECRET)}, [])
        with program.running():
            ours = Ours(program)
            for name in sorted(arguments.clients):
                before = ours.checks
                CLIENTS[name](ours)
                print(f"  {ours.checks - before:3} checks with {name}'s client", flush=True)
    for failure in ours.failures:
        print(f"DIFFERENCE: {failure}")
    print(f"{ours.checks} checks, {len(ours.failures)} differences")
    return bool(ours.failures)


if __name__ == "__main__":
    sys.exit(main())
