// Signing in: the token goes to the station once, the session comes back as a cookie no script can read.
import { call } from "./page.js";

const form = document.getElementById("login");
const refusal = document.getElementById("refused");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  refusal.textContent = "";
  try {
    await call("POST", "/api/session", { token: form.token.value.trim() });
    location.assign(form.dataset.next);
  } catch (refused) {
    refusal.textContent = refused.status === 401 ? "This token is not known or has expired." : refused.message;
    form.token.select();
  }
});
