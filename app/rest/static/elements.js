// Build elements. Text goes in as text nodes only: nothing is ever parsed as markup.

export const byId = (id) => document.getElementById(id);

/** A new element with attributes and children; strings among the children become text. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

export const code = (text) => element("code", {}, text);

/** The paragraphs of a description: blank lines part them, `code` stands in backquotes. */
export const paragraphs = (text) => text.split(/\n\n+/).map((paragraph) => element("p", {}, ...words(paragraph)));

/** One line of a description. */
export const words = (text = "") => text.split("`").map((part, index) => (index % 2 ? code(part) : part));

/** Put rows of cells into the body of the table with this id. A cell is a string or a list of nodes; narrow screens
 * show the head of its column before it. The first cell of a row is its head. */
export function fill(id, rows) {
  const table = byId(id);
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const made = rows.map((cells) =>
    element("tr", {}, ...cells.map((cell, index) =>
      element(index ? "td" : "th", index ? { "data-head": heads[index] } : { scope: "row" }, ...[cell].flat()))),
  );
  table.tBodies[0].replaceChildren(...made);
}
