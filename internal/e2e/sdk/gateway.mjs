// What the tests of all SDKs share: where the gateway is, what it offers, and what must be true of an error.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";

export const url = process.env.SLUICE_URL;
export const key = process.env.SLUICE_KEY;
export const strangersKey = process.env.SLUICE_STRANGERS_KEY;
assert.ok(url && key && strangersKey, "SLUICE_URL, SLUICE_KEY and SLUICE_STRANGERS_KEY say where the gateway is");

// The key of somebody who may spend a little and no more, as ../budget_test.go makes it.
export const budgetKey = (name) => `sk-e2e-${createHash("sha256").update(`budget ${name}`).digest("hex")}`;

// Every way an upstream can be spoken to; a model is UPSTREAM-NAME.
export const upstreams = ["oai", "chat", "resp", "ant", "gem"];

// Ways a stream can break after its first output.
export const breaks = ["cut", "drop", "rst", "error"];

// What an upstream's refusal becomes: our own credential's trouble is never the client's.
export const statuses = { s400: 400, s401: 502, s403: 502, s404: 404, s422: 422, s429: 429, s500: 502, s503: 503 };

export const weather = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
  additionalProperties: false,
};

// Reads a stream to its end; gives what it held and the error that ended it.
export async function drain(stream, piece) {
  const pieces = [];
  try {
    for await (const x of await stream) pieces.push(piece(x));
  } catch (error) {
    return { pieces, error };
  }
  return { pieces, error: undefined };
}
