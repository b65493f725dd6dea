// Sends an order's mail with fetch: send.mjs json|untyped|form|multipart SERVICE
import { readFile } from "node:fs/promises";

const mail = {
  to: [{ name: "Ann Exämple", email: "ann@example.com" }, { name: "Bob, Jr.", email: "bob@example.com" }],
  cc: "carl@example.com",
  bcc: "archive@example.com",
  subject: "Order {order}: 50% & more",
  body_text: "Grüße, {name}!\n\nTotal: 12 € + shipping\n",
  body_html: '<p style="color:red">Grüße, <b>{name}</b>!</p>\n<p>{note}</p>\n',
  from_name: "The Shop",
  from_email: "shop@example.com",
  name: "Ann",
  order: "4711",
  template_data: { note: "1 < 2" },
};

function fill(form) {
  mail.to.forEach((to, index) => {
    form.append(`to[${index}][name]`, to.name);
    form.append(`to[${index}][email]`, to.email);
  });
  for (const [name, value] of Object.entries(mail)) {
    if (typeof value === "string") form.append(name, value);
  }
  form.append("template_data[note]", mail.template_data.note);
  return form;
}

async function multipart() {
  const form = fill(new FormData());
  form.append("file", new Blob([await readFile("Rechnung März.pdf")]), "Rechnung März.pdf");
  form.append("attachment", new Blob([await readFile("terms.txt")], { type: "text/plain" }), "terms.txt");
  return form;
}

const bodies = {
  json: () => JSON.stringify(mail),
  untyped: () => JSON.stringify(mail),
  form: () => fill(new URLSearchParams()),
  multipart,
};

const [form, service] = process.argv.slice(2);
const headers = { "X-DreamFactory-API-Key": process.env.API_KEY };
if (form === "json") headers["Content-Type"] = "application/json";

const response = await fetch(`${process.env.BASE_URL}/api/v2/${service}`, {
  method: "POST",
  headers,
  body: await bodies[form](),
});
const text = await response.text();
if (!response.ok) {
  process.stderr.write(text);
  process.exitCode = 1;
} else {
  process.stdout.write(text);
}
