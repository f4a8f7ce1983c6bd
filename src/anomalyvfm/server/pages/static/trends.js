// Trends: an engineer answers a drift alarm, and the test begins anew.
import { call, say } from "./page.js";

const drift = document.getElementById("drift");

if (drift) {
  drift.querySelectorAll("button").forEach((button) => {
    button.addEventListener("click", async () => {
      try {
        const url = "/api/models/" + encodeURIComponent(drift.dataset.model) + "/drift/reset";
        await call("POST", url, { false_alarm: button.dataset.falseAlarm === "yes" });
        location.reload();
      } catch (refused) {
        say(refused.message);
      }
    });
  });
}
