// nodemailer's pool: node nodemailer.mjs PORT CONNECTIONS SECONDS FIRST [RECIPIENTS]
// Sends mails whose recipients are numbered from FIRST on for so many seconds after a warm-up, and tells what it took.
import { readFileSync } from "node:fs";
import nodemailer from "nodemailer";

const [port, connections, seconds, first, recipients = 1] = process.argv.slice(2).map(Number);
const mail = JSON.parse(readFileSync(new URL("mail.json", import.meta.url)));
const transport = nodemailer.createTransport({
  host: "127.0.0.1", port, pool: true, maxConnections: connections, maxMessages: Infinity, ignoreTLS: true,
});

const WARM_UP = 1000;
let number = first, sent = 0, counted = 0, cpu;
const to = () => Array.from({ length: recipients }, () => `m${String(number++).padStart(8, "0")}@load.example`);
const from = performance.now() + WARM_UP, until = from + seconds * 1000;
setTimeout(() => { cpu = process.cpuUsage(); }, WARM_UP);

async function client() {
  while (performance.now() < until) {
    await transport.sendMail({ ...mail, to: to() });
    sent++;
    if (performance.now() >= from) counted++;
  }
}

// Twice as many mails as connections are under way, so that no connection waits for the next mail.
await Promise.all(Array.from({ length: connections * 2 }, client));
const { user, system } = process.cpuUsage(cpu);
const took = (performance.now() - from) / 1000;
console.log(JSON.stringify({ sent: counted, seconds: took, cpu: (user + system) / 1e6, last: first + sent * recipients - 1 }));
transport.close();
