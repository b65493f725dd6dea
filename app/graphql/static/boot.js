"use strict";

(() => {
  const PLACEHOLDER = "paste your key here";

  const OPENING_QUERY = `# Welcome to Heliograph.
# Send your first mail in two steps:
#
# 1. In the Headers tab below, put your API key
#    in the place of "${PLACEHOLDER}".
#    The server printed one when it first started;
#    \`heliograph key create\` makes more.
# 2. Press the play button, or Ctrl-Enter.
#
# The mail itself is in the Variables tab.
# The service "email" is a sandbox: nothing leaves
# the machine. Read what was sent at /inbox.
#
# The book at the top left is the manual.
# Ctrl-Space completes what you type.

mutation SendEmail($input: SendEmailInput!) {
  sendEmail(input: $input) {
    message {
      id
      # derived from the states of its recipients
      state
      recipients {
        email
        state
        # what the SMTP server said; null until then
        reply {
          code
          enhancedCode
          text
        }
      }
    }
    # why nothing was sent; empty if it was accepted
    userErrors {
      code
      field
      message
      # true: the same request can succeed later
      retryable
    }
  }
}
`;

  const OPENING_VARIABLES = {
    input: {
      service: "email",
      to: [{ email: "ada@example.com", name: "Ada" }],
      subject: "A first mail by Heliograph",
      text: "It works.",
      html: "<p>It <b>works</b>.</p>",
      waitSeconds: 10,
    },
  };

  const OPENING_HEADERS = { "X-API-Key": PLACEHOLDER };

  const json = (value) => JSON.stringify(value, null, 2);

  function start(element) {
    const endpoint = element.dataset.endpoint;
    const storage = storageWithoutHeaders(window.sessionStorage);
    // GraphiQL has no defaultVariables; a `variables` prop would open one more tab at every reload.
    if (storage.getItem("graphiql:variables") === null) {
      storage.setItem("graphiql:variables", json(OPENING_VARIABLES));
    }
    ReactDOM.render(
      React.createElement(GraphiQL, {
        fetcher: fetcherOf(endpoint),
        // null: there is none to be had. Absent, it is asked for.
        schema: element.dataset.introspection === "off" ? null : undefined,
        defaultQuery: OPENING_QUERY,
        defaultHeaders: json(OPENING_HEADERS),
        defaultEditorToolsVisibility: "headers",
        inputValueDeprecation: true,
        isHeadersEditorEnabled: true,
        // What was typed is forgotten with the browser's tab, and the key is held in this page's memory alone.
        shouldPersistHeaders: false,
        showPersistHeadersSettings: false,
        storage,
      }),
      element,
    );
  }

  // GraphiQL leaves headers out of its tabs when told to, but not out of its history.
  function storageWithoutHeaders(storage) {
    return {
      get length() {
        return storage.length;
      },
      getItem: (name) => storage.getItem(name),
      removeItem: (name) => storage.removeItem(name),
      clear: () => storage.clear(),
      setItem: (name, value) => {
        const isHistory = name === "graphiql:queries" || name === "graphiql:favorites";
        storage.setItem(name, isHistory ? withOpeningHeaders(value) : value);
      },
    };
  }

  function withOpeningHeaders(history) {
    return JSON.stringify(JSON.parse(history), (name, value) =>
      name === "headers" ? json(OPENING_HEADERS) : value,
    );
  }

  function fetcherOf(endpoint) {
    return (request, options) => {
      const headers = givenHeaders(options);
      return isSubscription(request, options)
        ? subscribe(endpoint, request, headers)
        : post(endpoint, request, headers);
    };
  }

  function givenHeaders(options) {
    const headers = { ...(options && options.headers) };
    for (const name of Object.keys(headers)) {
      if (headers[name] === PLACEHOLDER) delete headers[name];
    }
    return headers;
  }

  function isSubscription(request, options) {
    const definitions = (options && options.documentAST && options.documentAST.definitions) || [];
    const operations = definitions.filter((node) => node.kind === "OperationDefinition");
    const chosen = request.operationName
      ? operations.find((node) => node.name && node.name.value === request.operationName)
      : operations[0];
    return Boolean(chosen) && chosen.operation === "subscription";
  }

  async function post(endpoint, request, headers) {
    const response = await fetch(endpoint, {
      method: "POST",
      headers: {
        ...headers,
        Accept: "application/graphql-response+json, application/json;q=0.9",
        "Content-Type": "application/json",
      },
      body: JSON.stringify(request),
      credentials: "omit",
      referrerPolicy: "no-referrer",
    });
    return response.json();
  }

  function subscribe(endpoint, request, headers) {
    const url = new URL(endpoint, window.location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    // One socket per subscription, so that a changed key counts at once. A server that says no is not asked again.
    const client = graphqlWs.createClient({ url: url.href, connectionParams: headers, retryAttempts: 0 });
    return {
      subscribe: (observer) => {
        const sink = {
          next: (result) => observer.next(result),
          error: (error) => observer.error(asError(error)),
          complete: () => observer.complete(),
        };
        return { unsubscribe: client.subscribe(request, sink) };
      },
    };
  }

  function asError(error) {
    if (error instanceof Error || Array.isArray(error)) return error;
    return new Error(error && error.reason ? `The server closed the connection: ${error.reason}` : "Connection lost");
  }

  start(document.getElementById("graphiql"));
})();
