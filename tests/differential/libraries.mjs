// The official JavaScript libraries, asked line by line: a request is JSON on standard input, an answer is JSON on
// standard output. Bodies are base64.

import { createInterface } from "node:readline";
import { verifyWebhook } from "@clerk/backend/webhooks";
import { LogLevel, Paddle } from "@paddle/paddle-node-sdk";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";
import { Webhook as SvixWebhook } from "svix";

const stripe = new Stripe("sk_test_none");
const paddle = new Paddle("none", { logLevel: LogLevel.none });

// Whether a library accepts a signature. What it says of the body behind it is not asked.
const libraries = {
  stripe: {
    sign: ({ secret, at, body }) => ({
      "stripe-signature": stripe.webhooks.generateTestHeaderString({ payload: body, secret, timestamp: at }),
    }),
    accepts: ({ secret, headers, body }) =>
      refusedBy("StripeSignatureVerificationError", () =>
        stripe.webhooks.signature.verifyHeader(body, headers["stripe-signature"], secret, 300),
      ),
  },
  standardwebhooks: {
    sign: ({ secret, id, at, body }) => ({
      "webhook-id": id,
      "webhook-timestamp": String(at),
      "webhook-signature": new Webhook(secret).sign(id, new Date(at * 1000), body),
    }),
    accepts: ({ secret, headers, body }) =>
      refusedBy("WebhookVerificationError", () => new Webhook(secret).verify(body, headers, { jsonParse: false })),
  },
  svix: {
    sign: ({ secret, id, at, body }) => ({
      "webhook-id": id,
      "webhook-timestamp": String(at),
      "webhook-signature": new SvixWebhook(secret).sign(id, new Date(at * 1000), body),
    }),
    accepts: ({ secret, headers, body }) => {
      try {
        return refusedBy("WebhookVerificationError", () => new SvixWebhook(secret).verify(body, headers));
      } catch (error) {
        // It parses what it has verified.
        if (error instanceof SyntaxError) return true;
        throw error;
      }
    },
  },
  "@clerk/backend": {
    accepts: async ({ secret, headers, body }) => {
      const request = new Request("http://localhost/", { method: "POST", headers, body });
      try {
        await verifyWebhook(request, { signingSecret: secret });
        return true;
      } catch (error) {
        // It parses what it has verified, and tells either failure by its text alone.
        return !/signature|required|timestamp/i.test(error.message);
      }
    },
  },
  "@paddle/paddle-node-sdk": {
    accepts: async ({ secret, headers, body }) => {
      try {
        return await paddle.webhooks.isSignatureValid(body, secret, headers["paddle-signature"]);
      } catch (error) {
        if (/Invalid webhook signature/.test(error.message)) return false;
        throw error;
      }
    },
  },
};

function refusedBy(name, verify) {
  try {
    verify();
    return true;
  } catch (error) {
    if (error.type === name || error.name === name) return false;
    throw error;
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { library, ask, ...request } = JSON.parse(line);
  request.body = Buffer.from(request.body, "base64").toString();
  let answer;
  try {
    answer = { answer: await libraries[library][ask](request) };
  } catch (error) {
    answer = { error: String(error.stack) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
