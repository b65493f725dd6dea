// JSON Schema in words.

import { code } from "./elements.js";

const REFERENCE = "#/components/schemas/";

/** Shapes that have a table of their own. */
const TABLES = { Context: "context-table", Code: "code-table" };

/** What a schema takes, as nodes: names of shapes link to their row. */
export function shape(schema) {
  if (schema.$ref) return [named(schema.$ref.slice(REFERENCE.length))];
  if (schema.anyOf) return joined(schema.anyOf.filter((one) => one.type !== "null" && !isEmpty(one)).map(shape));
  if (schema.type === "array") return ["list of ", ...shape(schema.items)];
  if ("const" in schema) return [code(String(schema.const))];
  if (schema.properties) return ["object with ", ...joined(Object.keys(schema.properties).map((name) => [code(name)]))];
  if (schema.enum) return joined(schema.enum.map((value) => [code(String(value))]));
  if (!schema.type) return ["any JSON value"];
  const kinds = [schema.type].flat().filter((kind) => kind !== "null");
  return [kinds.join(" or ") + range(schema)];
}

/** The examples of a schema, as text. */
export const exampleTexts = (schema) => (schema.examples ?? []).filter((example) => example !== "").map(asText);

export const asText = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 1).replace(/\s*\n\s*/g, " "));

function named(name) {
  const link = document.createElement("a");
  link.href = `#${TABLES[name] ?? `shape-${name}`}`;
  link.textContent = name;
  return link;
}

const joined = (shapes) => shapes.flatMap((nodes, index) => (index ? [" or ", ...nodes] : nodes));

/** Null, "" and [] count as absent everywhere, which is said once. */
const isEmpty = (schema) => schema.enum?.every((value) => value === null || value.length === 0);

function range({ minLength, maxLength, format, contentEncoding }) {
  const kind = format === "idn-email" ? ", an address" : contentEncoding ? `, ${contentEncoding}` : "";
  if (!maxLength) return kind;
  const most = maxLength.toLocaleString("en");
  return `${kind}, ${minLength ? `${minLength} to ${most}` : `at most ${most}`} characters`;
}
