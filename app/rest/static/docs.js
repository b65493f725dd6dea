// Render /openapi.json for people. The API key lives in this page's memory, nowhere else.

import { shellText } from "./curl.js";
import { byId, code, element, fill, paragraphs, words } from "./elements.js";
import { asText, exampleTexts, shape } from "./shape.js";

const ROOT = document.body.dataset.root;
const SHAPES = [
  "Mailboxes", "Address", "AddressList", "Mailbox", "Sender", "Attachments", "Attachment", "Link", "Variable", "Problem",
];

const SCHEME_TEXT = {
  header: ({ name }) => [code(`${name}: …`)],
  query: ({ name }) => [code(`?${name}=…`)],
  bearer: () => [code("Authorization: Bearer …")],
};

let examples = [];
let path = "";

function render({ info, paths, components, tags }) {
  const [[route, { post }]] = Object.entries(paths);
  path = route;
  examples = post["x-curl"];
  byId("route").replaceChildren("POST ", code(route));
  byId("about").replaceChildren(...paragraphs(info.description));
  byId("placeholder-about").replaceChildren(...paragraphs(tags[0].description));
  renderExamples();
  renderKeys(components.securitySchemes);
  renderFields(components.schemas);
  renderBodies(post.requestBody, components.schemas);
  renderAnswers(post, components.headers);
  renderErrors(post.responses, components.schemas);
}

function renderExamples() {
  byId("curl").replaceChildren(...examples.map((example, index) => {
    const button = element("button", { type: "button", "aria-describedby": `example-${index}` }, "Copy");
    const pre = element("pre", { tabindex: "0", "aria-labelledby": `example-${index}` });
    button.addEventListener("click", () => copy(pre.textContent, example.title));
    return element(
      "article",
      { class: "example" },
      element("h3", { id: `example-${index}` }, example.title),
      button,
      element("p", {}, ...words(example.description)),
      pre,
    );
  }));
  fillExamples();
}

/** Write the examples anew, with the key and the service that were typed in. */
function fillExamples() {
  const service = encodeURIComponent(byId("service").value.trim() || "email");
  const url = new URL(ROOT + path.replace("{service}", service), location.origin).href;
  const key = byId("api-key").value.trim();
  document.querySelectorAll("#curl pre").forEach((pre, index) => {
    pre.textContent = shellText(examples[index], url, key);
  });
}

async function copy(text, title) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text);
  }
  byId("copied").textContent = "";
  byId("copied").textContent = `Copied: ${title}`;
}

/** Without TLS, off loopback, a browser has no clipboard to write to. */
function copyBySelection(text) {
  const area = element("textarea", { readonly: "", class: "unseen" });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function renderKeys(schemes) {
  fill("security", Object.values(schemes).map((scheme) => [
    SCHEME_TEXT[scheme.in ?? scheme.scheme](scheme),
    scheme.description ?? (scheme.in === "header" ? "A header of its own." : "The standard header."),
  ]));
}

function renderFields(schemas) {
  fill("field-table", Object.entries(schemas.Mail.properties).map(([name, schema]) => [
    [code(name)],
    shape(schema),
    [...words(schema.description), ...shown(exampleTexts(schema))],
  ]));
  fill("shape-table", SHAPES.map((name) => [[name], shapeText(schemas[name]), shown(exampleTexts(schemas[name]))]));
  byId("shape-table").querySelectorAll("tbody tr").forEach((row, index) => { row.id = `shape-${SHAPES[index]}`; });
}

function shapeText(schema) {
  const about = element("p", {}, ...words(schema.description));
  if (!schema.properties) return [about, element("p", {}, ...shape(schema))];
  const items = Object.entries(schema.properties).map(([name, property]) =>
    element("li", {}, code(name), " ", ...shape(property), ". ", ...words(property.description)));
  return [about, element("ul", {}, ...items)];
}

const shown = (texts) => texts.map((text) => element("pre", {}, text));

function renderBodies(body, schemas) {
  byId("body-about").replaceChildren(...words(body.description));
  const resolved = Object.entries(body.content).map(([type, { schema }]) => [type, schemas[schema.$ref.split("/").at(-1)]]);
  fill("body-table", resolved.map(([type, schema]) => [[code(type)], words(schema.description)]));
  const files = Object.entries(schemas.Multipart.properties).filter(([name]) => !(name in schemas.Form.properties));
  const brackets = Object.entries(schemas.Form.patternProperties);
  fill("form-table", [
    ...brackets.map(([, { description, "x-names": names }]) => [names.flatMap((name) => [code(name), " "]), description]),
    ...files.map(([name, { description }]) => [[code(name)], `${description} Multipart only.`]),
  ]);
}

function renderAnswers(post, headers) {
  const parameters = post.parameters.filter((parameter) => parameter.in === "header");
  fill("parameter-table", parameters.map(({ name, schema, description, example }) => [
    [code(name)], shape(schema), [...words(description), ...shown([`${name}: ${example}`])],
  ]));
  fill("answer-table", Object.entries(post.responses).map(([status, response]) => [
    [code(status)], words(response.description), Object.keys(response.headers ?? {}).flatMap((name) => [code(name), " "]),
  ]));
  fill("header-table", Object.entries(headers).map(([name, { description, schema }]) => [
    [code(name)], shape(schema), words(description),
  ]));
}

function renderErrors(responses, schemas) {
  const failures = Object.entries(responses).flatMap(([status, response]) =>
    Object.values(response.content["application/json"].examples ?? {}).map((example) => ({ status, ...example })));
  const envelope = failures.find(({ value }) => value.error.context?.field);
  byId("envelope").textContent = JSON.stringify(envelope.value, null, 2);
  fill("envelope-table", described(schemas.Error.properties.error.properties));
  fill("context-table", described(schemas.Context.properties));
  fill("error-table", failures.map(({ status, summary, value }) => [[code(status)], summary, value.error.message]));
  fill("code-table", schemas.Code.oneOf.map((one) => [[code(one.const)], words(one.description)]));
}

const described = (properties) => Object.entries(properties).map(([name, schema]) => [
  [code(name)], shape(schema), words(schema.description),
]);

/** The sections were not there yet when the browser looked for the one in its address. */
function followAddress() {
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

byId("values").addEventListener("input", fillExamples);
byId("values").addEventListener("submit", (event) => event.preventDefault());

try {
  const answer = await fetch(`${ROOT}/openapi.json`);
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  render(await answer.json());
  byId("page").hidden = false;
  followAddress();
} catch (error) {
  byId("trouble").textContent = `The description of the route cannot be loaded (${error.message}).`;
  byId("trouble").hidden = false;
}
