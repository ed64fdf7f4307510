import assert from "node:assert/strict";
import { test } from "node:test";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { breaks, key, statuses, upstreams, url } from "./gateway.mjs";

const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: key });
const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey: key });
const google = createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey: key });
const providers = {
  "openai.chat": (m) => openai.chat(m),
  "openai.responses": (m) => openai.responses(m),
  anthropic: (m) => anthropic(m),
  google: (m) => google(m),
};
const maxRetries = 0;
// What a framework wants of OpenAI's storage is no business of other upstreams.
const providerOptions = { openai: { store: false } };

for (const [name, model] of Object.entries(providers)) {
  for (const up of upstreams) {
    test(`${name}, ${up}`, async (t) => {
      await t.test("plain", async () => {
        const r = await generateText({ model: model(`${up}-echo`), prompt: "grüß dich 🌊", maxRetries, providerOptions });
        assert.equal(r.text, "grüß dich 🌊");
        assert.equal(r.finishReason, "stop");
        assert.ok(r.usage.inputTokens > 0 && r.usage.outputTokens > 0);
      });
      await t.test("stream", async () => {
        const r = streamText({ model: model(`${up}-story`), prompt: "a story", maxRetries, providerOptions });
        const pieces = [];
        for await (const s of r.textStream) pieces.push(s);
        assert.ok(pieces.length > 5);
        assert.equal(pieces.join(""), await r.text);
        assert.ok((await r.usage).outputTokens > 0);
      });
      await t.test("tools", async () => {
        const asked = [];
        const tools = {
          weather: tool({
            description: "Weather",
            inputSchema: z.object({ city: z.string() }),
            execute: async ({ city }) => (asked.push(city), "sunny"),
          }),
        };
        const r = await generateText({ model: model(`${up}-tools`), prompt: "both cities, please", tools, stopWhen: stepCountIs(3), maxRetries, providerOptions });
        assert.equal(asked.length, 2);
        assert.ok(r.text.length > 0);
        const s = streamText({ model: model(`${up}-tools`), prompt: "one city", tools, stopWhen: stepCountIs(3), maxRetries, providerOptions });
        await s.consumeStream();
        assert.equal(asked.length, 3);
        assert.ok((await s.text).length > 0);
      });
      await t.test("structured output", async () => {
        // To Anthropic it is the forced call of a tool named json, one at a time, which not every upstream can promise.
        const by = name === "anthropic" ? "tools-lenient" : "json";
        const r = await generateText({ model: model(`${up}-${by}`), prompt: "a person", output: Output.object({ schema: z.object({ name: z.string() }) }), maxRetries, providerOptions });
        assert.equal(typeof r.output.name, "string");
      });
      for (const fault of breaks) {
        await t.test(`a stream that breaks raises: ${fault}`, async () => {
          const errors = [];
          const r = streamText({ model: model(`${up}-${fault}`), prompt: "a story", maxRetries, providerOptions, onError: ({ error }) => errors.push(error) });
          for await (const part of r.fullStream) if (part.type === "error") errors.push(part.error);
          assert.ok(errors.length > 0, "nothing was raised");
        });
      }
      await t.test("errors", async () => {
        for (const [fault, status] of Object.entries(statuses)) {
          await assert.rejects(generateText({ model: model(`${up}-${fault}`), prompt: "x", maxRetries, providerOptions }), (e) => {
            assert.ok(APICallError.isInstance(e), `${fault}: ${e}`);
            assert.equal(e.statusCode, status, `${fault}: ${e.message}`);
            assert.ok(e.message.length > 5 && !/schema|parse/i.test(e.message), `${fault}: the message was not read: ${e.message}`);
            return true;
          });
        }
      });
    });
  }
}
