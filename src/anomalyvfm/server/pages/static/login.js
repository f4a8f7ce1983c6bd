// Signing in: token or PIN go to the station once, the session comes back as a cookie no script can read.
import { _, call } from "./page.js";

const refusal = document.getElementById("refused");

function signIn(form, secret, said, body) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    refusal.textContent = "";
    try {
      await call("POST", "/api/session", body());
      location.assign(form.dataset.next);
    } catch (refused) {
      refusal.textContent = refused.status === 401 ? said : refused.message;
      secret.select();
    }
  });
}

const byPin = document.getElementById("by-pin");
const byToken = document.getElementById("login");
byPin.elements.name.value = localStorage.getItem("name") || "";
signIn(byPin, byPin.elements.pin, _("This name and PIN are not known here, or have expired."), () => {
  const name = byPin.elements.name.value.trim();
  localStorage.setItem("name", name);
  return { name, pin: byPin.elements.pin.value.trim() };
});
signIn(byToken, byToken.elements.token, _("This token is not known or has expired."), () => (
  { token: byToken.elements.token.value.trim() }
));
