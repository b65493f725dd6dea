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
  #turn = Promise.resolve();
  #isClosed = false;

  constructor(key) {
    this.#key = key;
  }

  close() {
    this.#isClosed = true;
    byId("list").replaceChildren();
    clearMail();
  }

  /** Load the newest mails; gives how many were not there before. Throws what `ask` throws, as all of these do. */
  refresh() {
    return this.#inTurn(async () => {
      const { inbox } = await ask(this.#key, LIST, { first: PAGE });
      return this.#isClosed ? 0 : this.#merge(inbox);
    });
  }

  /** Load the mails behind the last one. */
  loadMore() {
    return this.#inTurn(async () => {
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

  /** One list is loaded at a time, so that no answer overtakes another. */
  #inTurn(work) {
    this.#turn = this.#turn.catch(() => null).then(work);
    return this.#turn;
  }

  /** Put the first page before the mails that follow it. Ids grow with time, so they tell where that is. */
  #merge({ nodes, pageInfo }) {
    const known = new Set(this.#mails.map((mail) => mail.id));
    const isJoined = nodes.some((mail) => known.has(mail.id));
    const last = nodes.at(-1)?.id;
    const older = pageInfo.hasNextPage && isJoined ? this.#mails.filter((mail) => mail.id < last) : [];
    if (older.length === 0) this.#next = pageInfo;
    this.#mails = [...nodes, ...older];
    this.#render();
    return nodes.filter((mail) => !known.has(mail.id)).length;
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

/** Show this inbox. */
function enter(entered) {
  inbox = entered;
  byId("door").hidden = true;
  byId("inbox").hidden = byId("tools").hidden = false;
  followAddress();
}

/** Forget the API key and everything it showed, and ask for another one. */
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

/** Do something with the inbox; tell what goes wrong, and ask for another key if it is the key. */
async function attempt(work, tell = say) {
  const current = inbox;
  try {
    await work(current);
  } catch (error) {
    if (current !== inbox) return;
    if (error instanceof Refused && error.isOfKey) leave(error.message);
    else tell(error.message);
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
    attempt((current) => current.open(id), showSentence);
  } else {
    clearMail();
    inbox.mark(null);
    inbox.focus(opened);
  }
  opened = id;
}

async function refresh() {
  if (!inbox) return;
  await attempt(async (current) => {
    const arrived = await current.refresh();
    if (current === inbox) say(arrived ? `${arrived} new` : "");
  });
}

async function refreshWhileVisible() {
  if (document.visibilityState === "visible") await refresh();
  setTimeout(refreshWhileVisible, REFRESH_MILLISECONDS);
}

function say(sentence) {
  const status = byId("status");
  if (status.textContent !== sentence) status.textContent = sentence;
}

async function tryKey(event) {
  event.preventDefault();
  byId("refusal").textContent = "";
  const key = byId("key").value.trim();
  const tried = new Inbox(key);
  try {
    await tried.refresh();
  } catch (error) {
    leave(error.message);
    return;
  }
  sessionStorage.setItem(KEY, key);
  byId("key").value = "";
  enter(tried);
}

function start() {
  byId("key-form").addEventListener("submit", tryKey);
  byId("refresh").addEventListener("click", refresh);
  byId("more").addEventListener("click", () => attempt((current) => current.loadMore()));
  byId("forget").addEventListener("click", () => leave(""));
  window.addEventListener("hashchange", followAddress);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && refresh());
  const key = sessionStorage.getItem(KEY);
  if (key) {
    enter(new Inbox(key));
    attempt((current) => current.refresh());
  } else {
    leave("");
  }
  setTimeout(refreshWhileVisible, REFRESH_MILLISECONDS);
}

start();
