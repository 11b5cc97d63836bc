// The unmodified AI SDK: generateText, streamText, tools, objects, embeddings, errors.
// Prints one JSON object of what it saw; the test asserts on it.
import { createAmazonBedrock } from "@ai-sdk/amazon-bedrock";
import { Output, embedMany, generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const SCRIPTED = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const EMBEDDED = "amazon.nova-lite-v1:0";

// Region, keys and AWS_ENDPOINT_URL_BEDROCK_RUNTIME come from the environment.
const bedrock = createAmazonBedrock({});
const city = z.object({ name: z.string(), inhabitants: z.number().int() });
const tools = {
  get_weather: tool({
    description: "The weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `rain in ${city}`,
  }),
};

function asked(prompt, model = SCRIPTED) {
  return { model: bedrock(model), prompt, maxOutputTokens: 16, maxRetries: 0 };
}

async function streamed(options) {
  const parts = [];
  const result = streamText({ ...options, onError: () => {} });
  for await (const part of result.fullStream) parts.push(part);
  return parts;
}

function texts(parts) {
  return parts.filter((part) => part.type === "text-delta").map((part) => part.text);
}

const scenes = {
  async embedded() {
    const { text, usage, response } = await generateText(asked("Say hello.", EMBEDDED));
    return { text, usage, id: response.id, timestamp: response.timestamp };
  },
  async embedded_stream() {
    const parts = await streamed(asked("Say hello.", EMBEDDED));
    return { texts: texts(parts), usage: parts.at(-1).totalUsage };
  },
  async stream() {
    const parts = await streamed(asked("Say hello."));
    return { texts: texts(parts), finish: parts.at(-1).finishReason };
  },
  async tool_loop() {
    const done = await generateText({
      ...asked("Call get_weather."),
      tools,
      stopWhen: stepCountIs(3),
    });
    return {
      calls: done.steps.flatMap((step) => step.toolCalls.map(({ input }) => input)),
      finishes: done.steps.map((step) => step.finishReason),
      text: done.text,
    };
  },
  async streamed_tool() {
    const parts = await streamed({
      ...asked("Call get_weather."),
      tools,
      stopWhen: stepCountIs(3),
    });
    return {
      fragments: parts.filter((part) => part.type === "tool-input-delta").map((part) => part.delta),
      input: parts.find((part) => part.type === "tool-call").input,
      text: texts(parts).join(""),
    };
  },
  async object() {
    const { object } = await generateObject({ ...asked("Which city?"), schema: city });
    return object;
  },
  async output() {
    const { output } = await generateText({
      ...asked("Which city?"),
      output: Output.object({ schema: city }),
    });
    return output;
  },
  async throttled() {
    return await generateText(asked("Answer 429."));
  },
  async failed() {
    return await generateText(asked("Answer 500."));
  },
  async too_long() {
    return await generateText(asked("Answer too long."));
  },
  async broken_stream() {
    const parts = await streamed(asked("Break off."));
    const { error } = parts.find((part) => part.type === "error");
    return { texts: texts(parts), error: error?.message ?? error };
  },
  async embeddings() {
    const model = bedrock.embedding("amazon.titan-embed-text-v2:0");
    const { embeddings } = await embedMany({ model, values: ["one", "two"], maxRetries: 0 });
    return embeddings.map((embedding) => embedding.length);
  },
};

const seen = {};
for (const [name, scene] of Object.entries(scenes)) {
  try {
    seen[name] = await scene();
  } catch (error) {
    seen[name] = { raised: error.name, message: error.message, status: error.statusCode };
  }
}
console.log(JSON.stringify(seen));
