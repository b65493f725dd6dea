const SEND = `
  mutation ($input: SendEmailInput!) {
    sendEmail(input: $input) { messageId userErrors { code message retryAfter } }
  }
`;

const form = document.getElementById("contact");
const button = form.querySelector("button");
const status = document.getElementById("status");

// One key for one text: however often it is sent, by a double click or after a lost answer, it is accepted once.
let idempotencyKey = newKey();
form.addEventListener("input", () => {
  idempotencyKey = newKey();
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = Object.fromEntries(new FormData(form));
  if (fields.website) {
    tell("sent", "Thank you. Your message is on its way.");
    return;
  }
  button.disabled = true;
  tell("sending", "Sending …");
  try {
    const refused = await send(fields);
    if (refused) {
      tell("refused", sentence(refused));
    } else {
      form.reset();
      idempotencyKey = newKey();
      tell("sent", "Thank you. Your message is on its way.");
    }
  } catch {
    tell("refused", "Your message could not be sent. Please check your connection, and try again.");
  } finally {
    button.disabled = false;
  }
});

/** The first thing that is wrong, or undefined where the mail was accepted. Throws where there is no answer. */
async function send({ name, email, message }) {
  const { endpoint, key, service, template } = form.dataset;
  const input = {
    service,
    template,
    replyTo: { email, name },
    templateData: { name, email, message },
    idempotencyKey,
  };
  const answer = await fetch(endpoint, {
    method: "POST",
    credentials: "omit",
    headers: { "Content-Type": "application/json", "X-API-Key": key },
    body: JSON.stringify({ query: SEND, variables: { input } }),
  });
  const { data, errors } = await answer.json();
  if (errors) {
    return { code: errors[0].extensions?.code, message: errors[0].message };
  }
  return data.sendEmail.userErrors[0];
}

function sentence({ code, retryAfter }) {
  switch (code) {
    case "RATE_LIMITED":
      return `You have written to us a few times just now. Please try again in ${wait(retryAfter ?? 60)}.`;
    case "INVALID_EMAIL":
      return "Please check your email address.";
    case "TOO_LARGE":
      return "Your message is too long. Please shorten it.";
    case "UNAVAILABLE":
      return "We cannot take your message right now. Please try again in a minute.";
    default:
      return "This form cannot send your message. Please write to us in another way.";
  }
}

function wait(seconds) {
  if (seconds < 90) {
    return `${seconds} seconds`;
  }
  const minutes = Math.ceil(seconds / 60);
  return minutes < 90 ? `${minutes} minutes` : `${Math.ceil(minutes / 60)} hours`;
}

function tell(kind, text) {
  status.dataset.kind = kind;
  status.textContent = text;
}

/** 128 random bits. crypto.randomUUID would need https. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (octet) => octet.toString(16).padStart(2, "0")).join("");
}
