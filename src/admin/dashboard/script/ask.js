// What is asked of whoever looks: the token, and whether an endpoint should really be touched.

const ACTS = {
  eject: { word: "Eject", tone: "bad", timed: true, what: "It takes no more requests until the time is over or somebody readmits it. What runs there goes on." },
  readmit: { word: "Readmit", timed: false, what: "It takes requests again at once, whatever took it out." },
  drain: { word: "Drain", tone: "bad", timed: true, what: "It takes no new clients; sessions that are bound to it stay, and what runs there goes on." },
  undrain: { word: "Undrain", timed: false, what: "It takes new clients again." },
};

function actsFor({ state, by_hand }) {
  if (by_hand.some(({ what }) => what === "drained")) return ["undrain"];
  if (state === "ejected" || state === "probation") return ["readmit"];
  return state === "eligible" ? ["drain", "eject"] : [];
}

const token = {
  // Session storage may be forbidden; then it is kept for as long as the page is.
  value: (() => { try { return sessionStorage.getItem("lictor-token"); } catch { return null; } })(),

  keep(value) {
    this.value = value;
    try { sessionStorage.setItem("lictor-token", value); } catch { /* as said */ }
  },

  head() { return this.value ? { Authorization: `Bearer ${this.value}` } : {}; },

  // Resolves once there is one to try.
  ask(wasWrong) {
    const dialog = byId("token"), field = byId("token-value");
    byId("token-wrong").hidden = !wasWrong;
    field.value = "";
    if (!dialog.open) dialog.showModal();
    field.focus();
    return new Promise(resolve => {
      // There is nothing to see without one.
      dialog.oncancel = event => event.preventDefault();
      dialog.addEventListener("close", () => { this.keep(field.value.trim()); resolve(); }, { once: true });
    });
  },
};

function askToAct(act, cluster, endpoint) {
  const { word, what, timed, tone } = ACTS[act];
  const dialog = byId("act"), yes = byId("act-yes"), wrong = byId("act-wrong"), form = dialog.querySelector("form");
  say(byId("act-title"), `${word} ${endpoint.address} of ${cluster}?`);
  say(byId("act-what"), what);
  say(yes, word);
  yes.dataset.tone = tone ?? "";
  byId("act-for").hidden = !timed;
  wrong.hidden = true;
  yes.disabled = false;
  byId("act-no").onclick = () => dialog.close();
  // An answer that comes when another question is asked is none to that.
  const question = dialog.question = {};
  dialog.onclose = () => { dialog.question = null; };
  form.onsubmit = async event => {
    event.preventDefault();
    yes.disabled = true;
    const refusal = await post(act, cluster, endpoint, timed ? { for: byId("act-time").value } : {});
    if (dialog.question !== question) return;
    yes.disabled = false;
    if (refusal === null) return dialog.close();
    say(wrong, refusal);
    wrong.hidden = false;
  };
  dialog.showModal();
  byId("act-no").focus();
}

// None if it was done; else why not.
async function post(act, cluster, endpoint, body) {
  const path = `v1/clusters/${encodeURIComponent(cluster)}/endpoints/${encodeURIComponent(endpoint.address)}/${act}`;
  try {
    const answer = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json", ...token.head() }, body: JSON.stringify(body),
    });
    if (answer.ok) return null;
    const problem = await answer.json().catch(() => ({}));
    return problem.detail ?? problem.title ?? `It was refused: ${answer.status}.`;
  } catch {
    return "No answer.";
  }
}
