import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { breaks, drain, key, statuses, strangersKey, upstreams, url, weather } from "./gateway.mjs";

const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
const user = (content) => [{ role: "user", content }];
const text = (m) => m.content.filter((b) => b.type === "text").map((b) => b.text).join("");
const tools = [{ name: "weather", description: "Weather", input_schema: weather }];

for (const up of upstreams) {
  test(`messages, ${up}`, async (t) => {
    await t.test("plain", async () => {
      const m = await client.messages.create({ model: `${up}-echo`, max_tokens: 100, messages: user("grüß dich 🌊") });
      assert.equal(text(m), "grüß dich 🌊");
      assert.equal(m.stop_reason, "end_turn");
      assert.ok(m.usage.input_tokens > 0 && m.usage.output_tokens > 0);
    });
    await t.test("stream", async () => {
      const stream = client.messages.stream({ model: `${up}-story`, max_tokens: 1000, messages: user("a story") });
      const pieces = [];
      stream.on("text", (s) => pieces.push(s));
      const m = await stream.finalMessage();
      assert.equal(pieces.join(""), text(m));
      assert.ok(pieces.length > 5);
      assert.ok(m.usage.output_tokens > 0 && m.usage.input_tokens > 0);
    });
    for (const stream of [false, true]) {
      await t.test(`tools, stream ${stream}`, async () => {
        const ask = { model: `${up}-tools`, max_tokens: 1000, messages: user("both cities, please"), tools };
        const first = stream ? await client.messages.stream(ask).finalMessage() : await client.messages.create(ask);
        const calls = first.content.filter((b) => b.type === "tool_use");
        assert.equal(calls.length, 2);
        assert.equal(first.stop_reason, "tool_use");
        assert.equal(typeof calls[0].input.city, "string");
        const results = calls.map((c) => ({ type: "tool_result", tool_use_id: c.id, content: "sunny" }));
        const second = await client.messages.create({ ...ask, messages: [...ask.messages, { role: "assistant", content: first.content }, { role: "user", content: results }] });
        assert.ok(text(second).length > 0);
      });
    }
    await t.test("structured output", async () => {
      const schema = { type: "object", properties: { name: { type: "string" }, age: { type: "integer" } }, required: ["name", "age"], additionalProperties: false };
      const m = await client.messages.create({ model: `${up}-json`, max_tokens: 1000, messages: user("a person"), output_config: { format: { type: "json_schema", schema } } });
      assert.equal(typeof JSON.parse(text(m)).name, "string");
    });
    await t.test("thinking, carried back", async () => {
      const ask = { model: `${up}-reason`, max_tokens: 4000, thinking: { type: "enabled", budget_tokens: 1024 }, messages: user("why?") };
      const first = await client.messages.stream(ask).finalMessage();
      assert.ok(text(first).length > 0);
      const second = await client.messages.create({ ...ask, messages: [...ask.messages, { role: "assistant", content: first.content }, ...user("and then?")] });
      assert.ok(text(second).length > 0);
    });
    for (const fault of breaks) {
      await t.test(`a stream that breaks raises: ${fault}`, async () => {
        const { pieces, error } = await drain(client.messages.create({ model: `${up}-${fault}`, max_tokens: 1000, messages: user("a story"), stream: true }), (e) => e);
        assert.ok(error instanceof Anthropic.APIError, `raised ${error}`);
        assert.ok(pieces.some((e) => e.type === "content_block_delta"), "what had come was handed on");
        assert.ok(!pieces.some((e) => e.type === "message_stop"));
        await assert.rejects(client.messages.stream({ model: `${up}-${fault}`, max_tokens: 1000, messages: user("a story") }).finalMessage());
      });
    }
    await t.test("errors", async () => {
      for (const [name, status] of Object.entries(statuses)) {
        await assert.rejects(client.messages.create({ model: `${up}-${name}`, max_tokens: 10, messages: user("x") }), (e) => {
          assert.ok(e instanceof classes[status], `${name}: ${e.constructor.name} ${e.status}, want ${status}: ${e.message}`);
          assert.equal(e.status, status);
          assert.equal(e.error.type, "error");
          assert.equal(typeof e.error.error.message, "string");
          return true;
        });
      }
    });
  });
}

const classes = {
  400: Anthropic.BadRequestError, 401: Anthropic.AuthenticationError, 403: Anthropic.PermissionDeniedError, 404: Anthropic.NotFoundError,
  422: Anthropic.UnprocessableEntityError, 429: Anthropic.RateLimitError, 502: Anthropic.InternalServerError, 503: Anthropic.InternalServerError,
};

test("errors of our own", async () => {
  const ask = (c, extra) => c.messages.create({ model: "ant-echo", max_tokens: 10, messages: user("x"), ...extra });
  const as = (apiKey) => new Anthropic({ baseURL: url, apiKey, maxRetries: 0 });
  const type = (name) => (e) => {
    assert.equal(e.error.error.type, name);
    return true;
  };
  await assert.rejects(ask(as("sk-wrong")), type("authentication_error"));
  await assert.rejects(ask(as(strangersKey)), type("permission_error"));
  await assert.rejects(ask(client, { model: "no-such-model" }), type("not_found_error"));
  await assert.rejects(ask(client, { max_tokens: -1 }), type("invalid_request_error"));
  await assert.rejects(ask(as("sk-wrong")), Anthropic.AuthenticationError);
});

test("counting tokens", async () => {
  const n = await client.messages.countTokens({ model: "ant-echo", messages: user("one two three") });
  assert.ok(n.input_tokens > 0);
});
