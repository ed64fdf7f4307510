import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, FunctionCallingConfigMode, GoogleGenAI } from "@google/genai";
import { breaks, drain, key, statuses, strangersKey, upstreams, url, weather } from "./gateway.mjs";

const as = (apiKey, apiVersion = "v1beta") => new GoogleGenAI({ apiKey, apiVersion, httpOptions: { baseUrl: url, retryOptions: { attempts: 1 } } });
const client = as(key);
const tools = [{ functionDeclarations: [{ name: "weather", description: "Weather", parametersJsonSchema: weather }] }];

for (const up of upstreams) {
  test(`generateContent, ${up}`, async (t) => {
    await t.test("plain", async () => {
      const r = await client.models.generateContent({ model: `${up}-echo`, contents: "grüß dich 🌊" });
      assert.equal(r.text, "grüß dich 🌊");
      assert.equal(r.candidates[0].finishReason, "STOP");
      assert.ok(r.usageMetadata.promptTokenCount > 0 && r.usageMetadata.candidatesTokenCount > 0);
    });
    await t.test("stream", async () => {
      const { pieces, error } = await drain(client.models.generateContentStream({ model: `${up}-story`, contents: "a story" }), (c) => c.text ?? "");
      assert.equal(error, undefined);
      const plain = await client.models.generateContent({ model: `${up}-story`, contents: "a story" });
      assert.equal(pieces.join(""), plain.text);
      assert.ok(pieces.length > 5);
    });
    await t.test("tools", async () => {
      const chat = client.chats.create({ model: `${up}-tools`, config: { tools, toolConfig: { functionCallingConfig: { mode: FunctionCallingConfigMode.AUTO } } } });
      const first = await chat.sendMessage({ message: "both cities, please" });
      assert.equal(first.functionCalls.length, 2);
      assert.equal(typeof first.functionCalls[0].args.city, "string");
      const second = await chat.sendMessage({
        message: first.functionCalls.map((c) => ({ functionResponse: { id: c.id, name: c.name, response: { output: "sunny" } } })),
      });
      assert.ok(second.text.length > 0);
    });
    await t.test("structured output", async () => {
      const responseJsonSchema = { type: "object", properties: { name: { type: "string" } }, required: ["name"], additionalProperties: false };
      const r = await client.models.generateContent({ model: `${up}-json`, contents: "a person", config: { responseMimeType: "application/json", responseJsonSchema } });
      assert.equal(typeof JSON.parse(r.text).name, "string");
    });
    await t.test("thinking, carried back", async () => {
      const chat = client.chats.create({ model: `${up}-reason`, config: { thinkingConfig: { includeThoughts: true, thinkingBudget: 1024 } } });
      assert.ok((await chat.sendMessage({ message: "why?" })).text.length > 0);
      assert.ok((await chat.sendMessage({ message: "and then?" })).text.length > 0);
    });
    for (const fault of breaks) {
      await t.test(`a stream that breaks raises: ${fault}`, async () => {
        const { pieces, error } = await drain(client.models.generateContentStream({ model: `${up}-${fault}`, contents: "a story" }), (c) => c.text ?? "");
        assert.ok(error, "nothing was raised");
        assert.ok(pieces.join("").length > 0, "what had come was handed on");
      });
    }
    await t.test("errors", async () => {
      for (const [name, status] of Object.entries(statuses)) {
        await assert.rejects(client.models.generateContent({ model: `${up}-${name}`, contents: "x" }), (e) => {
          assert.ok(e instanceof ApiError, `${name}: ${e}`);
          assert.equal(e.status, status, `${name}: ${e.message}`);
          return true;
        });
      }
    });
  });
}

test("errors of our own", async () => {
  const ask = (c, model = "gem-echo", config) => c.models.generateContent({ model, contents: "x", config });
  const status = (n) => (e) => e instanceof ApiError && e.status === n;
  await assert.rejects(ask(as("sk-wrong")), status(401));
  await assert.rejects(ask(as(strangersKey)), status(403));
  await assert.rejects(ask(client, "no-such-model"), status(404));
  await assert.rejects(ask(client, "gem-echo", { temperature: 9 }), status(400));
});

test("tokens, embeddings, models", async () => {
  assert.ok((await client.models.countTokens({ model: "gem-echo", contents: "one two three" })).totalTokens > 0);
  for (const up of ["gem", "oai"]) {
    const r = await client.models.embedContent({ model: `${up}-echo`, contents: ["river", "hill"] });
    assert.equal(r.embeddings.length, 2);
    assert.ok(r.embeddings[0].values.length > 0);
  }
  const names = [];
  for await (const m of await client.models.list()) names.push(m.name);
  assert.ok(names.includes("models/gem-echo"), names.join());
  assert.equal((await client.models.get({ model: "gem-echo" })).name, "models/gem-echo");
});

test("the SDK as it comes, with the API version of its choice", async () => {
  const plain = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url } });
  assert.equal((await plain.models.generateContent({ model: "gem-echo", contents: "hello" })).text, "hello");
  const { pieces, error } = await drain(plain.models.generateContentStream({ model: "ant-story", contents: "a story" }), (c) => c.text ?? "");
  assert.equal(error, undefined);
  assert.ok(pieces.join("").length > 100);
  assert.ok((await plain.models.countTokens({ model: "gem-echo", contents: "one two three" })).totalTokens > 0);
});
