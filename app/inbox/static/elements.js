// Build elements. Text goes in as text nodes only: mail is never parsed as markup of this page.

/** A new element with attributes and children; strings among the children become text. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

export const byId = (id) => document.getElementById(id);

/** A <time>: the hour if it is today, else the day; the whole of it as the tooltip. */
export function time(iso) {
  const moment = new Date(iso);
  const isToday = moment.toDateString() === new Date().toDateString();
  const shown = isToday
    ? moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })
    : moment.toLocaleDateString([], { day: "numeric", month: "short", year: "numeric" });
  return element("time", { datetime: iso, title: moment.toLocaleString() }, shown);
}

/** A size in bytes, for people. */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const exponent = Math.min(3, Math.floor(Math.log10(bytes) / 3));
  return `${(bytes / 1000 ** exponent).toFixed(1)} ${["kB", "MB", "GB"][exponent - 1]}`;
}
