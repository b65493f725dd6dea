// A mail's html, shown where it can do nothing: no script, no form, no other host, not even a link to click.
//
// The sandbox and the policies see to that. Taken out beforehand is what they do not cover (a <link> can make the browser
// look up a host), and what they would turn into noise: broken frames, messages on the console.

import { element } from "./elements.js";

const POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

const UNWANTED = "script, link, meta, base, iframe, frame, object, embed, audio, video";
const LOADING = ["src", "srcset", "background", "poster", "data", "href", "xlink:href"];
const CSS_URL = /url\(\s*(?:"([^"]*)"|'([^']*)'|([^)"']*))\s*\)/gi;
const CSS_IMPORT = /@import\b[^;]*;?/gi;

/**
 * Prepare the html part of a mail. Gives `frame`, an <iframe>; `links`, the http, https and mailto links that the mail
 * has; and `hosts`, those from which it would have loaded something.
 */
export function harmless(html, attachments) {
  // A document of DOMParser loads nothing and runs nothing.
  const mail = new DOMParser().parseFromString(html, "text/html");
  const found = { links: [], hosts: new Set(), inline: inlineImages(attachments) };
  for (const node of mail.querySelectorAll("*")) disarm(node, found);
  for (const unwanted of mail.querySelectorAll(UNWANTED)) unwanted.remove();
  mail.head.prepend(element("meta", { "http-equiv": "Content-Security-Policy", content: POLICY }));
  const frame = element("iframe", { sandbox: "", referrerpolicy: "no-referrer", title: "The mail's HTML" });
  frame.srcdoc = `<!doctype html>${mail.documentElement.outerHTML}`;
  return { frame, links: found.links, hosts: [...found.hosts].sort() };
}

function inlineImages(attachments) {
  const images = attachments.filter((part) => part.contentId && /^image\/[\w.+-]+$/.test(part.contentType));
  return new Map(images.map((part) => [part.contentId, `data:${part.contentType};base64,${part.content}`]));
}

function disarm(node, found) {
  if (node.matches("a[href], area[href]")) keepLink(node, found.links);
  for (const name of LOADING) {
    const address = node.getAttribute(name);
    if (address === null) continue;
    const replaced = name === "srcset" ? noted(address, found) : shown(address, found);
    if (replaced) node.setAttribute(name, replaced);
    else node.removeAttribute(name);
  }
  if (node.hasAttribute("style")) node.setAttribute("style", styled(node.getAttribute("style"), found));
  if (node.localName === "style") node.textContent = styled(node.textContent, found);
}

function keepLink(node, links) {
  const address = node.getAttribute("href").trim();
  if (/^(https?|mailto):/i.test(address)) links.push({ address, text: node.textContent.trim() });
  node.setAttribute("title", address);
  node.removeAttribute("href");
}

function styled(css, found) {
  return css
    .replace(CSS_IMPORT, (rule) => (noted(rule, found), ""))
    .replace(CSS_URL, (_, double, single, bare) => `url("${shown(double ?? single ?? bare, found) ?? "data:,"}")`);
}

/** The address to put in the place of one that the mail gives: only data: and inline images stay. */
function shown(address, found) {
  const given = address.trim();
  if (/^data:image\//i.test(given)) return given.replaceAll('"', "%22");
  if (/^cid:/i.test(given)) return found.inline.get(contentId(given)) ?? null;
  if (given.startsWith("#")) return given;
  return noted(given, found);
}

/** RFC 2392: the Content-ID of a cid: URL, percent-decoded. */
function contentId(address) {
  const encoded = address.slice("cid:".length);
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded;
  }
}

/** Write down every host that `text` names. Nothing of it stays. */
function noted(text, found) {
  for (const [, host] of text.matchAll(/(?:https?:)?\/\/([^\s/?#"'\\,)]+)/gi)) found.hosts.add(host.toLowerCase());
  return null;
}
