// The examples as lines for a shell.

/** The text to paste. Without `key`, the shell's variable KEY stands for it, and is set before. */
export function shellText(example, url, key) {
  const start = ["curl -i", word(url)].join(" ");
  const options = example.options.map((option) => option.map((text) => word(text, key)).join(" "));
  const lines = [];
  if (!key) lines.push("export KEY=your-api-key");
  if (example.file) lines.push(`printf %s ${quoted(example.file.content)} > ${word(example.file.name)}`);
  return [...lines, [start, ...options].join(" \\\n  ")].join("\n");
}

function word(text, key) {
  if (text.includes("{key}") && !key) return `"${text.replace("{key}", "$KEY")}"`;
  const given = text.replace("{key}", () => key);
  return /^[\w.-]+$/.test(given) ? given : quoted(given);
}

/** In single quotes a shell takes everything as it is, but a single quote. */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
