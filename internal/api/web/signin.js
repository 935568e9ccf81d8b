// Signing in. At a node the token in the address's fragment is traded for a
// cookie: the fragment never leaves the browser by itself, and is wiped from the
// history at once. At a hub people have a name and a password.

const $ = (id) => document.getElementById(id);
const said = $("said");

// enter leads to where one was before.
function enter() {
  const back = sessionStorage.getItem("back") ?? "";
  sessionStorage.removeItem("back");
  location.replace("/" + (back.startsWith("#/") ? back : ""));
}

function send(body) {
  return fetch("/api/v1/session", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

const ask = () => fetch("/api/v1/session");

const isIn = async () => (await ask()).ok;

// problem is the last part of the type of a refusal: sign-in and no-accounts are
// a hub's.
async function problem(answer) {
  const { type = "" } = await answer.json().catch(() => ({}));
  return type.split(":").at(-1);
}

function say(words, bad) {
  said.textContent = words;
  said.dataset.bad = bad ? "yes" : "";
}

// ---- a node's token ----

async function trade(token) {
  say("One moment.");
  try {
    const answer = await send({ token });
    if (answer.ok || (await isIn())) {
      enter();
      return;
    }
    askToken(answer.status === 401 ? "This sign-in address was used already, or has expired." : "lanfolk refused the sign-in.");
  } catch {
    askToken("lanfolk does not answer. Is it running?");
  }
}

function askToken(why) {
  say(why, why);
  $("form").hidden = $("node-hint").hidden = false;
  $("token").focus();
}

$("form").addEventListener("submit", (e) => {
  e.preventDefault();
  const text = $("token").value.trim();
  trade(text.slice(text.indexOf("#") + 1).slice(0, 256));
});

// ---- a hub's people ----

function askPerson(why) {
  say(why, why);
  $("person").hidden = false;
  ($("name").value ? $("password") : $("name")).focus();
}

$("person").addEventListener("submit", async (e) => {
  e.preventDefault();
  const button = $("person").querySelector("button");
  button.disabled = true;
  say("One moment.");
  let why = "lanfolk does not answer. Is it running?";
  try {
    const answer = await send({ name: $("name").value.trim(), password: $("password").value });
    if (answer.ok) {
      if (await isIn()) {
        enter();
        return;
      }
      // A browser keeps the cookie of a sign-in over TLS, or of this machine, only.
      why = "The password is right, but this browser keeps no session over an address without TLS. Use https, or open the page as localhost.";
    } else if (answer.status === 401) {
      why = "The name or the password is wrong.";
      $("password").value = "";
      $("hub-hint").hidden = (await problem(answer)) !== "no-accounts";
    } else if (answer.status === 429) {
      const wait = Number(answer.headers.get("Retry-After"));
      why = "Too many tries. " + (wait > 0 ? `Wait ${wait < 100 ? `${wait} seconds` : `${Math.ceil(wait / 60)} minutes`}.` : "Wait a while.");
    } else {
      why = "lanfolk refused the sign-in.";
    }
  } catch { /* nobody answers */ }
  button.disabled = false;
  askPerson(why);
});

// ---- which of the two ----

async function begin() {
  const token = location.hash.slice(1);
  if (token) {
    history.replaceState(null, "", "/signin");
    trade(token);
    return;
  }
  try {
    const answer = await ask();
    if (answer.ok) {
      enter();
      return;
    }
    const kind = await problem(answer);
    if (kind === "sign-in" || kind === "no-accounts") {
      $("hub-hint").hidden = kind !== "no-accounts";
      askPerson("");
    } else {
      askToken("");
    }
  } catch {
    askToken("lanfolk does not answer. Is it running?");
  }
}

begin();
