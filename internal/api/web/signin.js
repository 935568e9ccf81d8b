// Trades the token in the address's fragment for a cookie. The fragment never
// leaves the browser by itself, and is wiped from the history at once.

const said = document.getElementById("said");
const form = document.getElementById("form");
const field = document.getElementById("token");

async function signIn(token) {
  said.textContent = "One moment.";
  said.dataset.bad = "";
  try {
    const answer = await fetch("/api/v1/session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
    if (answer.ok || (await fetch("/api/v1/session")).ok) {
      location.replace("/");
      return;
    }
    ask(answer.status === 401 ? "This sign-in address was used already, or has expired." : "lanfolk refused the sign-in.");
  } catch {
    ask("lanfolk does not answer. Is it running?");
  }
}

function ask(why) {
  said.textContent = why;
  said.dataset.bad = why ? "yes" : "";
  form.hidden = false;
  field.focus();
}

form.addEventListener("submit", (e) => {
  e.preventDefault();
  const text = field.value.trim();
  signIn(text.slice(text.indexOf("#") + 1).slice(0, 256));
});

const token = location.hash.slice(1);
if (token) {
  history.replaceState(null, "", "/signin");
  signIn(token);
} else if ((await fetch("/api/v1/session").catch(() => ({}))).ok) {
  location.replace("/");
} else {
  ask("");
}
