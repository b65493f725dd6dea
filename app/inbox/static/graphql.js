// Ask the GraphQL endpoint.

const endpoint = document.body.dataset.endpoint;

const SENTENCES = {
  UNAUTHENTICATED: "An API key is needed.",
  INVALID_API_KEY: "This API key is not known here, has expired, or was revoked.",
  ROLE_INACTIVE: "The role of this API key is inactive.",
  FORBIDDEN: "This API key may not read captured mail: its role needs READ_MESSAGES.",
};

/** The server understood, and says no. `code` is extensions.code; `isOfKey` tells that another API key may help. */
export class Refused extends Error {
  constructor({ message, extensions }) {
    const code = extensions?.code;
    super(SENTENCES[code] ?? message);
    this.code = code;
    this.isOfKey = code in SENTENCES;
  }
}

/** The data of a query. Throws Refused, or an Error with a sentence for people. */
export async function ask(key, query, variables) {
  // A header holds nothing else; fetch would throw an error that no one understands.
  if (!/^[\x21-\x7e]+$/.test(key)) throw new Refused({ extensions: { code: "INVALID_API_KEY" } });
  const { errors, data } = await post(key, JSON.stringify({ query, variables }));
  if (errors) throw new Refused(errors[0]);
  return data;
}

async function post(key, body) {
  let response;
  try {
    response = await fetch(endpoint, {
      method: "POST",
      headers: { Accept: "application/json", "Content-Type": "application/json", "X-API-Key": key },
      body,
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
    });
  } catch {
    throw new Error("The server cannot be reached.");
  }
  try {
    return await response.json();
  } catch {
    throw new Error(`The server answered with ${response.status} and no JSON.`);
  }
}
