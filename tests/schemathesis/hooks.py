"""What schemathesis is to know beside the description, so that it can follow the links.

It repeats what it did before and gives up where the answers differ. So each scenario has an environment of its own, in
which nothing is known yet, and always takes what a link gives it.
"""

import itertools
import json
import os
import subprocess

import schemathesis
from schemathesis.specs.openapi import stateful

# What is given to the program that makes a key.
PROGRAM = os.environ["PROGRAM"]
numbers = itertools.count()
# The key of the environment of the scenario that runs; none before the first of them.
own_key = None
used_keys = set()

begin = stateful.OpenAPIStateMachine.__init__
stateful.BASE_EXPLORATION_RATE = 0.0


def begin_in_an_environment(scenario) -> None:
    global own_key
    begin(scenario)
    used_keys.clear()
    create = ["key", "create", "--environment", f"scenario-{next(numbers)}", "--scope", "admin", "--json"]
    made = subprocess.run([PROGRAM, *create], capture_output=True, check=True)
    own_key = json.loads(made.stdout)["key"]


stateful.OpenAPIStateMachine.__init__ = begin_in_an_environment


@schemathesis.auth(refresh_interval=None)
class Key:
    def get(self, case, context) -> str:
        return own_key or os.environ["API_KEY"]

    def set(self, case, data, context) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context, case, kwargs) -> None:
    # What is repeated under a key may be about somebody who is deleted by now: then it is the id alone, which the
    # description says in words.
    key = (case.headers or {}).get("Idempotency-Key")
    if key in used_keys:
        del case.headers["Idempotency-Key"]
    elif key:
        used_keys.add(key)
    # Two names of one thing, which no schema says: a made-up one beside the one of a link is refused.
    if own_key and isinstance(case.body, dict) and "external_id" in case.body:
        case.body.pop("customer_id", None)
