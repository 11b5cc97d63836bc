// What Grafana's own code makes of Prometheus' answers: the names in a legend, the text of a stat.
// Takes the dashboard and { panel's title: { refId: matrix } } as files, prints one JSON object.
const { readFileSync } = require("node:fs");
globalThis.navigator ??= { language: "en-US", languages: ["en-US"] };
const {
  applyFieldOverrides,
  createTheme,
  FieldType,
  getFieldDisplayName,
  getFieldDisplayValues,
  Registry,
  toDataFrame,
} = require("@grafana/data");

const [dashboard, answers] = process.argv.slice(2).map((file) => JSON.parse(readFileSync(file)));
const shared = { theme: createTheme(), timeZone: "utc", replaceVariables: (text) => text };

// As Grafana's server puts it to its pages, which it alone does.
function frame({ refId, expr, legendFormat }, { metric, values }) {
  const named = legendFormat.replace(/{{\s*(.+?)\s*}}/g, (_, label) => metric[label] ?? "");
  const displayNameFromDS = legendFormat ? named : expr;
  return toDataFrame({
    refId,
    name: displayNameFromDS,
    fields: [
      { name: "Time", type: FieldType.time, values: values.map(([at]) => at * 1000) },
      {
        name: "Value",
        type: FieldType.number,
        labels: metric,
        values: values.map(([, value]) => Number(value)),
        config: { displayNameFromDS },
      },
    ],
  });
}

// The editors of these belong to the pages; what is set is taken as it is.
const standard = ["unit", "noValue", "color", "thresholds", "min", "max"];
const fieldConfigRegistry = new Registry(() =>
  standard.map((id) => ({ id, path: id, name: id, process: (set) => set, shouldApply: () => true })),
);

function shown({ title, type, targets, fieldConfig, options }) {
  const unknown = Object.keys(fieldConfig.defaults).filter((key) => !standard.includes(key));
  if (unknown.some((key) => key !== "custom")) throw new Error(`${title}: ${unknown}`);
  const frames = targets.flatMap((target) =>
    answers[title][target.refId].map((series) => frame(target, series)),
  );
  const data = applyFieldOverrides({ data: frames, fieldConfig, fieldConfigRegistry, ...shared });
  if (type !== "stat") return data.map((one) => getFieldDisplayName(one.fields[1], one, data));
  const { reduceOptions } = options;
  const values = getFieldDisplayValues({ data, fieldConfig, reduceOptions, ...shared });
  return values.map(({ display: { prefix = "", text, suffix = "" } }) => prefix + text + suffix);
}

const panels = dashboard.panels.filter(({ type }) => type !== "row");
console.log(JSON.stringify(Object.fromEntries(panels.map((panel) => [panel.title, shown(panel)]))));
