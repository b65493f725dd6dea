// Who reads, and the list of mail. The API key lives in this module and in sessionStorage, nowhere else.

import { byId, element, time } from "./elements.js";
import { Refused, ask } from "./graphql.js";
import { clearMail, showMail, showSentence } from "./mail.js";

const KEY = "heliograph:inbox:key";
const PAGE = 50;
const REFRESH_MILLISECONDS = 4000;

const LIST = `query Inbox($first: Int!, $after: String) {
  inbox(first: $first, after: $after) {
    nodes { id receivedAt from subject recipients reversePath }
    pageInfo { hasNextPage endCursor }
  }
}`;

const MAIL = `query CapturedMail($id: ID!) {
  capturedMail(id: $id) {
    id receivedAt reversePath recipients subject sizeBytes
    content {
      headers { name value }
      text
      html
      attachments { name contentType contentId sizeBytes content }
      source
    }
  }
}`;

/** One API key's view of the inbox, until it is closed. What is answered after that is dropped. */
class Inbox {
  #key;
  #mails = [];
  #rows = new Map();
  #next = { hasNextPage: false, endCursor: null };
  #isBusy = false;
  #isClosed = false;

  constructor(key) {
    this.#key = key;
  }

  close() {
    this.#isClosed = true;
    byId("list").replaceChildren();
    clearMail();
  }

  /** Load the newest mails. Throws what `ask` throws. */
  async refresh() {
    await this.#alone(async () => {
      const { inbox } = await ask(this.#key, LIST, { first: PAGE });
      if (!this.#isClosed) this.#merge(inbox);
    });
  }

  /** Load the mails behind the last one. */
  async loadMore() {
    await this.#alone(async () => {
      const { inbox } = await ask(this.#key, LIST, { first: PAGE, after: this.#next.endCursor });
      if (this.#isClosed) return;
      this.#mails.push(...inbox.nodes);
      this.#next = inbox.pageInfo;
      this.#render();
    });
  }

  /** Show the mail with this id at the right. */
  async open(id) {
    this.mark(id);
    const { capturedMail } = await ask(this.#key, MAIL, { id });
    if (this.#isClosed || id !== idInAddress()) return;
    if (capturedMail) showMail(capturedMail);
    else showSentence("There is no such mail any more, or this API key may not read it.");
  }

  /** Mark the row of the open mail; null when none is open. */
  mark(id) {
    for (const [other, row] of this.#rows) {
      if (other === id) row.firstChild.setAttribute("aria-current", "true");
      else row.firstChild.removeAttribute("aria-current");
    }
  }

  focus(id) {
    this.#rows.get(id)?.firstChild.focus();
  }

  async #alone(work) {
    if (this.#isBusy) return;
    this.#isBusy = true;
    try {
      await work();
    } finally {
      this.#isBusy = false;
    }
  }

  /** Put the first page before the mails that follow it. Ids grow with time, so they tell where that is. */
  #merge({ nodes, pageInfo }) {
    const known = new Set(this.#mails.map((mail) => mail.id));
    const isJoined = nodes.some((mail) => known.has(mail.id));
    const last = nodes.at(-1)?.id;
    const older = pageInfo.hasNextPage && isJoined ? this.#mails.filter((mail) => mail.id < last) : [];
    if (older.length === 0) this.#next = pageInfo;
    const arrived = nodes.filter((mail) => !known.has(mail.id)).length;
    if (known.size && arrived) say(arrived === 1 ? "1 new mail" : `${arrived} new mails`);
    this.#mails = [...nodes, ...older];
    this.#render();
  }

  /** Rows that are there already are not touched, so that the focus stays where it is. */
  #render() {
    const rows = new Map(this.#mails.map((mail) => [mail.id, this.#rows.get(mail.id) ?? row(mail)]));
    for (const [id, old] of this.#rows) if (!rows.has(id)) old.remove();
    this.#rows = rows;
    const list = byId("list");
    [...rows.values()].forEach((wanted, index) => {
      if (list.children[index] !== wanted) list.insertBefore(wanted, list.children[index] ?? null);
    });
    byId("nothing").hidden = rows.size > 0;
    byId("more").hidden = !this.#next.hasNextPage;
    this.mark(idInAddress());
  }
}

function row(mail) {
  return element(
    "li",
    {},
    element(
      "a",
      { href: `#${mail.id}` },
      element("span", { class: "from" }, mail.from ?? mail.reversePath),
      time(mail.receivedAt),
      element("span", { class: "subject" }, mail.subject || "(no subject)"),
      element("span", { class: "recipients" }, `to ${mail.recipients.join(", ")}`),
    ),
  );
}

let inbox = null;
let opened = null;

async function enter(key) {
  const entered = new Inbox(key);
  await entered.refresh();
  inbox = entered;
  sessionStorage.setItem(KEY, key);
  byId("door").hidden = true;
  byId("inbox").hidden = byId("tools").hidden = false;
  followAddress();
}

function leave(sentence) {
  inbox?.close();
  inbox = null;
  sessionStorage.removeItem(KEY);
  say("");
  byId("inbox").hidden = byId("tools").hidden = true;
  byId("door").hidden = false;
  byId("refusal").textContent = sentence;
  byId("key").value = "";
  byId("key").focus();
}

/** Do something with the inbox; say what went wrong, and ask for another key if it is the key. */
async function attempt(work) {
  const current = inbox;
  try {
    await work(current);
    return true;
  } catch (error) {
    if (current === inbox) {
      if (error instanceof Refused && error.isOfKey) leave(error.message);
      else say(error.message);
    }
    return false;
  }
}

function idInAddress() {
  return /^#(cap_[0-9a-f]+)$/.exec(location.hash)?.[1] ?? null;
}

function followAddress() {
  if (!inbox) return;
  const id = idInAddress();
  document.body.classList.toggle("reading", id !== null);
  if (id) {
    attempt((current) => current.open(id));
  } else {
    clearMail();
    inbox.mark(null);
    inbox.focus(opened);
  }
  opened = id;
}

async function refresh() {
  if (!inbox) return;
  const before = byId("status").textContent;
  if ((await attempt((current) => current.refresh())) && byId("status").textContent === before) say("");
}

async function refreshWhileVisible() {
  if (document.visibilityState === "visible") await refresh();
  setTimeout(refreshWhileVisible, REFRESH_MILLISECONDS);
}

function say(sentence) {
  const status = byId("status");
  if (status.textContent !== sentence) status.textContent = sentence;
}

function start() {
  byId("key-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    byId("refusal").textContent = "";
    await enter(byId("key").value.trim()).then(
      () => (byId("key").value = ""),
      (error) => leave(error.message),
    );
  });
  byId("refresh").addEventListener("click", refresh);
  byId("more").addEventListener("click", () => attempt((current) => current.loadMore()));
  byId("forget").addEventListener("click", () => leave(""));
  window.addEventListener("hashchange", followAddress);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && refresh());
  const key = sessionStorage.getItem(KEY);
  if (key) enter(key).catch((error) => leave(error.message));
  else leave("");
  setTimeout(refreshWhileVisible, REFRESH_MILLISECONDS);
}

start();
