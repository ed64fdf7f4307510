import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { breaks, drain, key, statuses, strangersKey, upstreams, url, weather } from "./gateway.mjs";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const user = (content) => [{ role: "user", content }];
const tools = [{ type: "function", function: { name: "weather", description: "Weather", parameters: weather } }];
const Person = z.object({ name: z.string(), age: z.number() });

for (const up of upstreams) {
  test(`chat, ${up}`, async (t) => {
    await t.test("plain", async () => {
      const r = await client.chat.completions.create({ model: `${up}-echo`, messages: user("grüß dich 🌊") });
      assert.equal(r.choices[0].message.content, "grüß dich 🌊");
      assert.equal(r.choices[0].finish_reason, "stop");
      assert.ok(r.usage.prompt_tokens > 0 && r.usage.completion_tokens > 0);
    });
    await t.test("stream", async () => {
      const stream = client.chat.completions.stream({ model: `${up}-story`, messages: user("a story"), stream_options: { include_usage: true } });
      const { pieces, error } = await drain(stream, (c) => c.choices[0]?.delta.content ?? "");
      assert.equal(error, undefined);
      const r = await stream.finalChatCompletion();
      assert.equal(pieces.join(""), r.choices[0].message.content);
      assert.ok(pieces.filter(Boolean).length > 5, "it came in pieces");
      assert.ok(r.usage.completion_tokens > 0);
      const plain = await client.chat.completions.create({ model: `${up}-story`, messages: user("a story") });
      assert.equal(plain.choices[0].message.content, r.choices[0].message.content);
    });
    await t.test("usage is withheld from who did not ask", async () => {
      const stream = await client.chat.completions.create({ model: `${up}-echo`, messages: user("hi"), stream: true });
      const { pieces } = await drain(stream, (c) => c);
      assert.ok(pieces.every((c) => !c.usage && c.choices.length > 0));
    });
    for (const stream of [false, true]) {
      await t.test(`tools, stream ${stream}`, async () => {
        const ask = { model: `${up}-tools`, messages: user("both cities, please"), tools };
        const first = stream
          ? await client.chat.completions.stream(ask).finalChatCompletion()
          : await client.chat.completions.create(ask);
        const m = first.choices[0].message;
        assert.equal(first.choices[0].finish_reason, "tool_calls");
        assert.equal(m.tool_calls.length, 2);
        for (const c of m.tool_calls) assert.equal(typeof JSON.parse(c.function.arguments).city, "string");
        const results = m.tool_calls.map((c) => ({ role: "tool", tool_call_id: c.id, content: "sunny" }));
        const second = await client.chat.completions.create({ ...ask, messages: [...ask.messages, m, ...results] });
        assert.ok(second.choices[0].message.content.length > 0);
        assert.equal(second.choices[0].finish_reason, "stop");
      });
    }
    await t.test("structured output", async () => {
      const r = await client.chat.completions.parse({ model: `${up}-json`, messages: user("a person"), response_format: zodResponseFormat(Person, "person") });
      assert.equal(typeof r.choices[0].message.parsed.name, "string");
      assert.equal(typeof r.choices[0].message.parsed.age, "number");
    });
    await t.test("reasoning", async () => {
      const r = await client.chat.completions.create({ model: `${up}-reason`, messages: user("why?"), reasoning_effort: "low" });
      assert.ok(r.choices[0].message.content.length > 0);
      assert.ok(r.usage.completion_tokens > 0);
    });
    for (const fault of breaks) {
      await t.test(`a stream that breaks raises: ${fault}`, async () => {
        const stream = await client.chat.completions.create({ model: `${up}-${fault}`, messages: user("a story"), stream: true });
        const { pieces, error } = await drain(stream, (c) => c.choices[0]?.delta.content ?? "");
        assert.ok(pieces.join("").length > 0, "what had come was handed on");
        assert.ok(error instanceof OpenAI.APIError, `raised ${error}`);
      });
    }
    await t.test("errors", () => errors((model) => client.chat.completions.create({ model, messages: user("x") }), up));
  });

  test(`responses, ${up}`, async (t) => {
    await t.test("plain", async () => {
      const r = await client.responses.create({ model: `${up}-echo`, input: "grüß dich 🌊", store: false });
      assert.equal(r.output_text, "grüß dich 🌊");
      assert.equal(r.status, "completed");
      assert.ok(r.usage.output_tokens > 0);
    });
    await t.test("stream", async () => {
      const stream = client.responses.stream({ model: `${up}-story`, input: "a story", store: false });
      const { pieces, error } = await drain(stream, (e) => (e.type === "response.output_text.delta" ? e.delta : ""));
      assert.equal(error, undefined);
      const r = await stream.finalResponse();
      assert.equal(pieces.join(""), r.output_text);
      assert.ok(pieces.filter(Boolean).length > 5);
    });
    for (const stream of [false, true]) {
      await t.test(`tools, stream ${stream}`, async () => {
        const ask = { model: `${up}-tools`, input: user("both cities, please"), store: false, tools: [{ type: "function", name: "weather", parameters: weather, strict: true }] };
        const first = stream ? await client.responses.stream(ask).finalResponse() : await client.responses.create(ask);
        const calls = first.output.filter((i) => i.type === "function_call");
        assert.equal(calls.length, 2);
        const results = calls.map((c) => ({ type: "function_call_output", call_id: c.call_id, output: "sunny" }));
        const history = first.output.map(({ parsed_arguments, ...item }) => item);
        const second = await client.responses.create({ ...ask, input: [...ask.input, ...history, ...results] });
        assert.ok(second.output_text.length > 0);
      });
    }
    await t.test("structured output", async () => {
      const r = await client.responses.parse({ model: `${up}-json`, input: "a person", store: false, text: { format: zodTextFormat(Person, "person") } });
      assert.equal(typeof r.output_parsed.name, "string");
    });
    await t.test("reasoning, carried back", async () => {
      const ask = { model: `${up}-reason`, input: user("why?"), store: false, reasoning: { effort: "low", summary: "auto" }, include: ["reasoning.encrypted_content"] };
      const first = await client.responses.create(ask);
      const second = await client.responses.create({ ...ask, input: [...ask.input, ...first.output, ...user("and then?")] });
      assert.ok(second.output_text.length > 0);
    });
    for (const fault of breaks) {
      await t.test(`a stream that breaks raises: ${fault}`, async () => {
        const stream = await client.responses.create({ model: `${up}-${fault}`, input: "a story", store: false, stream: true });
        const { pieces, error } = await drain(stream, (e) => e);
        const failed = pieces.some((e) => e.type === "error" || e.type === "response.failed");
        assert.ok(error instanceof OpenAI.APIError || failed, `raised ${error}`);
        assert.ok(!pieces.some((e) => e.type === "response.completed"));
      });
    }
    await t.test("errors", () => errors((model) => client.responses.create({ model, input: "x", store: false }), up));
  });
}

const classes = {
  400: OpenAI.BadRequestError, 401: OpenAI.AuthenticationError, 403: OpenAI.PermissionDeniedError, 404: OpenAI.NotFoundError,
  422: OpenAI.UnprocessableEntityError, 429: OpenAI.RateLimitError, 502: OpenAI.InternalServerError, 503: OpenAI.InternalServerError,
};

async function errors(ask, up) {
  for (const [name, status] of Object.entries(statuses)) {
    await assert.rejects(ask(`${up}-${name}`), (e) => {
      assert.ok(e instanceof classes[status], `${name}: ${e.constructor.name} ${e.status}, want ${status}: ${e.message}`);
      assert.equal(e.status, status);
      assert.ok(e.message.length > 10 && e.requestID, `${name}: ${e.message}, request id ${e.requestID}`);
      if (status === 429 || status === 503) assert.ok(Number(e.headers.get("retry-after")) > 0);
      return true;
    });
  }
}

test("errors of our own", async () => {
  const ask = (c, extra) => c.chat.completions.create({ model: "oai-echo", messages: user("x"), ...extra });
  const as = (apiKey) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
  await assert.rejects(ask(as("sk-wrong")), OpenAI.AuthenticationError);
  await assert.rejects(ask(as(strangersKey)), OpenAI.PermissionDeniedError);
  await assert.rejects(ask(client, { model: "no-such-model" }), OpenAI.NotFoundError);
  await assert.rejects(ask(client, { temperature: 9, messages: [{ role: "nobody", content: "x" }] }), (e) => {
    assert.ok(e instanceof OpenAI.BadRequestError);
    assert.match(e.message, /\/temperature/);
    assert.match(e.message, /\/messages\/0\/role/);
    return true;
  });
});

test("models and embeddings", async () => {
  const names = [];
  for await (const m of client.models.list()) names.push(m.id);
  assert.ok(names.includes("ant-echo"), names.join());
  assert.equal((await client.models.retrieve("ant-echo")).id, "ant-echo");
  for (const up of ["oai", "chat", "gem"]) {
    const one = await client.embeddings.create({ model: `${up}-echo`, input: "river", encoding_format: "float" });
    const two = await client.embeddings.create({ model: `${up}-echo`, input: ["river", "hill"] });
    assert.equal(two.data.length, 2);
    assert.equal(one.data[0].embedding.length, two.data[0].embedding.length);
    one.data[0].embedding.forEach((x, i) => assert.ok(Math.abs(x - two.data[0].embedding[i]) < 1e-6));
  }
});

test("a client that leaves", async () => {
  const stream = await client.chat.completions.create({ model: "oai-slow", messages: user("x"), stream: true });
  for await (const _ of stream) break;
});
