// One mail, at the right: its envelope and header fields, and its parts under tabs.

import { byId, element, size } from "./elements.js";
import { harmless } from "./frame.js";

const TABS = ["text", "html", "attachments", "source"];
const SUMMARY = ["From", "To", "Cc", "Reply-To", "Date"];
const SHOWN_CHARS = 500_000;

let chosen = null;

/** Show a CapturedMail with its content. */
export function showMail(mail) {
  const { headers, text, html, attachments, source } = mail.content;
  byId("subject").textContent = mail.subject || "(no subject)";
  document.title = `${mail.subject || "(no subject)"} · Heliograph inbox`;
  byId("summary").tBodies[0].replaceChildren(...summaryRows(mail));
  byId("fields").querySelector("summary").textContent = `All ${headers.length} header fields`;
  byId("fields").querySelector("tbody").replaceChildren(...headers.map(({ name, value }) => tableRow(name, value)));
  byId("tab-attachments").textContent = `Attachments (${attachments.length})`;
  byId("panel-text").replaceChildren(...textPanel(text));
  byId("panel-html").replaceChildren(...htmlPanel(html, attachments));
  byId("panel-attachments").replaceChildren(...attachmentsPanel(attachments));
  byId("panel-source").replaceChildren(...sourcePanel(source, mail.id));
  byId("unopened").hidden = true;
  byId("mail").hidden = false;
  select(preferredTab(mail.content));
  byId("mail-pane").scrollTop = 0;
  byId("mail").focus({ preventScroll: true });
}

/** Show that no mail is open. */
export function clearMail() {
  showSentence("Open a mail from the list.");
}

/** Show a sentence in the place of a mail. Nothing of the last mail stays in the page. */
export function showSentence(sentence) {
  document.title = "Heliograph: inbox";
  byId("unopened").textContent = sentence;
  byId("unopened").hidden = false;
  byId("mail").hidden = true;
  byId("subject").textContent = "";
  byId("summary").tBodies[0].replaceChildren();
  byId("fields").querySelector("tbody").replaceChildren();
  for (const name of TABS) byId(`panel-${name}`).replaceChildren();
}

function summaryRows(mail) {
  const fields = mail.content.headers.filter(({ name }) => SUMMARY.some((known) => isSame(known, name)));
  fields.sort((one, other) => position(one.name) - position(other.name));
  return [
    ...fields.map(({ name, value }) => tableRow(name, value)),
    tableRow("Envelope", `${mail.reversePath || "<>"} → ${mail.recipients.join(", ")}`),
    tableRow("Received", `${new Date(mail.receivedAt).toLocaleString()}, ${size(mail.sizeBytes)}`),
  ];
}

const isSame = (one, other) => one.toLowerCase() === other.toLowerCase();
const position = (name) => SUMMARY.findIndex((known) => isSame(known, name));

function tableRow(name, value) {
  return element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value));
}

function textPanel(text) {
  return text === null ? [note("This mail has no text part.")] : [element("pre", {}, text)];
}

function htmlPanel(html, attachments) {
  if (html === null) return [note("This mail has no HTML part.")];
  const { frame, links, hosts } = harmless(html, attachments);
  const panel = [frame];
  if (hosts.length) panel.unshift(note(`Not loaded: what the mail refers to on ${hosts.join(", ")}.`));
  if (links.length) panel.push(linkList(links));
  return panel;
}

function linkList(links) {
  const outside = { target: "_blank", rel: "noopener noreferrer" };
  return element(
    "details",
    { class: "links" },
    element("summary", {}, links.length === 1 ? "1 link" : `${links.length} links`),
    element(
      "ul",
      {},
      ...links.map(({ address, text }) =>
        element("li", {}, element("a", { ...outside, href: address }, address), text && ` ${text}`),
      ),
    ),
  );
}

function attachmentsPanel(attachments) {
  if (attachments.length === 0) return [note("This mail has no attachments.")];
  return [element("ul", { class: "attachments" }, ...attachments.map(attachmentRow))];
}

function attachmentRow(part) {
  const name = part.name ?? "(unnamed)";
  const about = [part.contentType, size(part.sizeBytes), part.contentId && `inline as cid:${part.contentId}`];
  return element(
    "li",
    {},
    element("span", { class: "name" }, name),
    element("span", { class: "about" }, about.filter(Boolean).join(", ")),
    downloadButton("Download", `Download ${name}`, part.name ?? "attachment", () =>
      Uint8Array.from(atob(part.content), (octet) => octet.charCodeAt(0)),
    ),
  );
}

function sourcePanel(source, id) {
  const panel = [downloadButton("Download .eml", "Download the source", `${id}.eml`, () => source)];
  if (source.length > SHOWN_CHARS) panel.push(note(`The first ${SHOWN_CHARS} of ${source.length} characters:`));
  return [element("div", { class: "above" }, ...panel), element("pre", {}, source.slice(0, SHOWN_CHARS))];
}

/** Saved as octets of no type, so that no browser opens it as a page of this origin. */
function downloadButton(label, description, fileName, content) {
  const button = element("button", { type: "button", "aria-label": description }, label);
  button.addEventListener("click", () => {
    const url = URL.createObjectURL(new Blob([content()], { type: "application/octet-stream" }));
    element("a", { href: url, download: fileName }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  });
  return button;
}

function note(sentence) {
  return element("p", { class: "note" }, sentence);
}

/** The tab that was chosen last, if this mail has something there; else the HTML, else the text. */
function preferredTab({ text, html, attachments }) {
  const has = { text: text !== null, html: html !== null, attachments: attachments.length > 0, source: true };
  return [chosen, "html", "text", "attachments", "source"].find((name) => has[name]);
}

function select(name) {
  for (const other of TABS) {
    const tab = byId(`tab-${other}`);
    tab.setAttribute("aria-selected", String(other === name));
    tab.tabIndex = other === name ? 0 : -1;
    byId(`panel-${other}`).hidden = other !== name;
  }
}

function choose(name) {
  chosen = name;
  select(name);
}

function moveBetweenTabs(event) {
  const index = TABS.findIndex((name) => event.target === byId(`tab-${name}`));
  const moved = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: TABS.length - 1 }[event.key];
  if (index < 0 || moved === undefined) return;
  event.preventDefault();
  const name = TABS.at(moved % TABS.length);
  choose(name);
  byId(`tab-${name}`).focus();
}

for (const name of TABS) byId(`tab-${name}`).addEventListener("click", () => choose(name));
document.querySelector(".tabs").addEventListener("keydown", moveBetweenTabs);
