// The unmodified SDK: HTTP/1.1 for bedrock, HTTP/2 with prior knowledge for bedrock-runtime.
// Prints one JSON object of what it saw; the test asserts on it.
import {
  BedrockClient,
  CreateInferenceProfileCommand,
  GetInferenceProfileCommand,
  paginateListInferenceProfiles,
  paginateListProvisionedModelThroughputs,
} from "@aws-sdk/client-bedrock";
import {
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
} from "@aws-sdk/client-bedrock-runtime";

const bedrock = new BedrockClient({});
const runtime = new BedrockRuntimeClient({});
const messages = [{ role: "user", content: [{ text: "Say hello." }] }];
const inferenceConfig = { maxTokens: 12, temperature: 0 };

const source = await bedrock.send(
  new GetInferenceProfileCommand({ inferenceProfileIdentifier: "us.amazon.nova-lite-v1:0" }),
);
const created = await bedrock.send(
  new CreateInferenceProfileCommand({
    inferenceProfileName: "from javascript",
    modelSource: { copyFrom: source.inferenceProfileArn },
  }),
);

let profiles = 0;
for await (const page of paginateListInferenceProfiles({ client: bedrock, pageSize: 7 }, {})) {
  profiles += page.inferenceProfileSummaries.length;
}
let provisioned = 0;
for await (const page of paginateListProvisionedModelThroughputs({ client: bedrock }, {})) {
  provisioned += page.provisionedModelSummaries.length;
}

const modelId = created.inferenceProfileArn;
const answer = await runtime.send(new ConverseCommand({ modelId, messages, inferenceConfig }));
const streamed = await runtime.send(
  new ConverseStreamCommand({ modelId, messages, inferenceConfig }),
);
const events = [];
let text = "";
for await (const event of streamed.stream) {
  events.push(Object.keys(event)[0]);
  text += event.contentBlockDelta?.delta?.text ?? "";
}

let refusal;
try {
  await runtime.send(new ConverseCommand({ modelId: "no.such-model", messages }));
} catch (error) {
  refusal = { name: error.name, message: error.message };
}

console.log(
  JSON.stringify({
    created: created.inferenceProfileArn,
    profiles,
    provisioned,
    answer: answer.output.message.content[0].text,
    usage: answer.usage,
    events,
    text,
    refusal,
    protocol: runtime.config.requestHandler.constructor.name,
  }),
);
