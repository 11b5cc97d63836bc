// The unmodified SDK over HTTP/2: tools, native bodies, embeddings, counted tokens, failures.
// Prints one JSON object of what it saw; the test asserts on it.
import {
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
  CountTokensCommand,
  InvokeModelCommand,
  InvokeModelWithResponseStreamCommand,
} from "@aws-sdk/client-bedrock-runtime";

const modelId = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const runtime = new BedrockRuntimeClient({});
const toolConfig = {
  tools: [
    {
      toolSpec: {
        name: "get_weather",
        inputSchema: {
          json: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
        },
      },
    },
  ],
};

async function* converse(text) {
  const messages = [{ role: "user", content: [{ text }] }];
  yield* (await runtime.send(new ConverseStreamCommand({ modelId, messages, toolConfig }))).stream;
}

function native(text) {
  const messages = [{ role: "user", content: text }];
  const body = JSON.stringify({ anthropic_version: "bedrock-2023-05-31", max_tokens: 16, messages });
  return { modelId, body, contentType: "application/json" };
}

const fragments = [];
let stopReason;
for await (const event of converse("Call get_weather.")) {
  const input = event.contentBlockDelta?.delta?.toolUse?.input;
  if (input !== undefined) fragments.push(input);
  stopReason ??= event.messageStop?.stopReason;
}

const invoked = await runtime.send(new InvokeModelCommand(native("Say hello.")));
const message = JSON.parse(new TextDecoder().decode(invoked.body));

const chunks = [];
const streamed = await runtime.send(
  new InvokeModelWithResponseStreamCommand(native("Say hello.")),
);
for await (const event of streamed.body) {
  chunks.push(JSON.parse(new TextDecoder().decode(event.chunk.bytes)).type);
}

let broken;
try {
  for await (const event of converse("Break off.")) void event;
} catch (error) {
  broken = { name: error.name, message: error.message };
}

const refusals = {};
for (const told of ["Answer 429.", "Answer 500.", "Answer too long."]) {
  const messages = [{ role: "user", content: [{ text: told }] }];
  try {
    await runtime.send(new ConverseCommand({ modelId, messages }));
  } catch (error) {
    refusals[told] = { name: error.name, status: error.$metadata.httpStatusCode };
  }
}

const invokedForVectors = await runtime.send(
  new InvokeModelCommand({
    modelId: "cohere.embed-english-v3",
    contentType: "application/json",
    body: JSON.stringify({ input_type: "search_query", texts: ["one", "two"] }),
  }),
);
const vectors = JSON.parse(new TextDecoder().decode(invokedForVectors.body)).embeddings;
const embeddings = vectors.map((vector) => vector.length);

const { inputTokens } = await runtime.send(
  new CountTokensCommand({
    modelId: modelId.replace("us.", ""),
    input: { converse: { messages: [{ role: "user", content: [{ text: "Say hello." }] }] } },
  }),
);

const seen = { fragments, stopReason, message, chunks, broken, refusals, embeddings, inputTokens };
console.log(JSON.stringify(seen));
