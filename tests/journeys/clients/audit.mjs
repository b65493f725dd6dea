// The audit suite of graphql-http against the endpoint named on the command line: a line of JSON for each audit.
// Runs from a folder in which graphql-http is installed.
import { serverAudits } from "graphql-http";

for (const audit of serverAudits({ url: process.argv[2], fetchFn: fetch })) {
  const { status, reason } = await audit.fn();
  console.log(JSON.stringify({ id: audit.id, name: audit.name, status, reason }));
}
