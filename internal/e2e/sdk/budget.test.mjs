// A hard budget that is used up ends a stream: the SDKs must take the answer for one that was too long.
import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { GoogleGenAI } from "@google/genai";
import { streamText } from "ai";
import OpenAI from "openai";
import { budgetKey, drain, upstreams, url } from "./gateway.mjs";

const prompt = "a long story";
const user = [{ role: "user", content: prompt }];
const least = 1000; // characters of text

// Where frames pass as they came, nobody has kept the item that is open, so Responses ends without closing it.
const vercel = (provider, left = 0) => async (apiKey, model) => {
  const errors = [];
  const r = streamText({ model: provider(apiKey)(model), prompt, maxRetries: 0, providerOptions: { openai: { store: false } }, onError: ({ error }) => errors.push(error) });
  const pieces = [];
  let open = 0;
  for await (const part of r.fullStream) {
    if (part.type === "error") errors.push(part.error);
    if (part.type === "text-start") open++;
    if (part.type === "text-end") open--;
    if (part.type === "text-delta") pieces.push(part.text);
  }
  assert.deepEqual(errors, []);
  assert.ok(open <= left, "a text is left open");
  assert.equal(await r.finishReason, "length");
  assert.equal(await r.text, pieces.join(""));
  assert.ok(pieces.join("").length > least);
};

const clients = {
  "node-chat": async (apiKey, model) => {
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
    const stream = client.chat.completions.stream({ model, messages: user, stream_options: { include_usage: true } });
    const { pieces, error } = await drain(stream, (c) => c.choices[0]?.delta.content ?? "");
    assert.equal(error, undefined);
    const r = await stream.finalChatCompletion();
    assert.equal(r.choices[0].finish_reason, "length");
    assert.equal(r.choices[0].message.content, pieces.join(""));
    assert.ok(pieces.join("").length > least);
    assert.equal(r.problem.code, "budget_exceeded");
    assert.ok(r.usage.completion_tokens > 900);
  },
  "node-responses": async (apiKey, model) => {
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
    const stream = client.responses.stream({ model, input: prompt, store: false });
    const { pieces, error } = await drain(stream, (e) => (e.type === "response.output_text.delta" ? e.delta : ""));
    assert.equal(error, undefined);
    const r = await stream.finalResponse();
    assert.equal(r.status, "incomplete");
    assert.equal(r.incomplete_details.reason, "max_output_tokens");
    assert.equal(r.output_text, pieces.join(""));
    assert.ok(pieces.join("").length > least);
    assert.equal(r.problem.code, "budget_exceeded");
  },
  "node-messages": async (apiKey, model) => {
    const client = new Anthropic({ baseURL: url, apiKey, maxRetries: 0 });
    const stream = client.messages.stream({ model, max_tokens: 20000, messages: user });
    const pieces = [];
    stream.on("text", (s) => pieces.push(s));
    const m = await stream.finalMessage();
    assert.equal(m.stop_reason, "max_tokens");
    assert.equal(m.content[0].text, pieces.join(""));
    assert.ok(pieces.join("").length > least);
    assert.ok(m.usage.output_tokens > 900);
  },
  "node-gemini": async (apiKey, model) => {
    const client = new GoogleGenAI({ apiKey, apiVersion: "v1beta", httpOptions: { baseUrl: url, retryOptions: { attempts: 1 } } });
    const chat = client.chats.create({ model });
    const { pieces, error } = await drain(chat.sendMessageStream({ message: prompt }), (c) => c);
    assert.equal(error, undefined);
    assert.equal(pieces.at(-1).candidates[0].finishReason, "MAX_TOKENS");
    assert.ok(pieces.map((c) => c.text ?? "").join("").length > least);
    assert.equal(chat.getHistory(true).length > 1, true, "the chat keeps the answer");
  },
  "ai-chat": vercel((apiKey) => createOpenAI({ baseURL: `${url}/v1`, apiKey }).chat),
  "ai-responses": vercel((apiKey) => createOpenAI({ baseURL: `${url}/v1`, apiKey }).responses, 1),
  "ai-messages": vercel((apiKey) => createAnthropic({ baseURL: `${url}/v1`, apiKey })),
  "ai-gemini": vercel((apiKey) => createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey })),
};

for (const up of upstreams) {
  for (const [name, ask] of Object.entries(clients)) {
    test(`${name}, ${up}`, () => ask(budgetKey(`${up}-${name}`), `${up}-long`));
  }
}
