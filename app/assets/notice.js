// A run is never out of sight: the browser's title tells how far it is, and a notice when it has ended.

/** The job that was seen at work last. */
let watched = "";
/** How it ended, until the person has seen the page again. */
let lastEnd = null;
const MARK = { finished: "✓", stopped: "■", failed: "✕", lost: "✕" };

/** A job that was at work is so no more: say it. `was`: that job, where another one is looked at by now. */
function followEnd(before, was) {
  if (run.state === "running") {
    const other = before.state === "running" && before.job !== run.job;
    if (other && was) tellEnd(was.state, was.name, was.tool);
    else if (!other) lastEnd = null;
    watched = run.job;
  } else if (watched && run.job === watched && MARK[run.state]) {
    tellEnd(run.state, run.now?.name || "", run.tool);
    watched = "";
  }
}

function tellEnd(state, name, tool) {
  if (!MARK[state]) return;
  lastEnd = { state, name };
  chime();
  if (!document.hidden || !wants("notice") || globalThis.Notification?.permission !== "granted") return;
  const title = tool ? w(`tool.${state}`, { tool }) : w(`notice.${state}`);
  const notice = new Notification(title, { body: name, tag: "lora-atelier" });
  notice.onclick = () => {
    window.focus();
    openTab("run");
    notice.close();
  };
}

/** "42 % · momo — LoRA Atelier", then "✓ momo — LoRA Atelier". */
function paintTitle() {
  const { now } = run;
  const counts = now && (now.total || run.tool); // the phases before training are no part of its percents
  const share = counts ? `${Math.floor(100 * runShare())} %` : "…";
  const text =
    run.state === "running" && now
      ? `${share} · ${now.name} — ${TITLE}`
      : lastEnd
        ? `${MARK[lastEnd.state]} ${lastEnd.name} — ${TITLE}`
        : TITLE;
  if (document.title !== text) document.title = text;
}

/** The end was seen: the title is the page's own again. */
function endSeen() {
  if (!lastEnd || document.hidden || run.state === "running") return;
  lastEnd = null;
  paintTitle();
}
for (const kind of ["pointerdown", "keydown"]) document.addEventListener(kind, endSeen, true);

// --- what the person wants ----------------------------------------------------------------------------

const wants = (what) => stored(`end_${what}`) === "1";

/** Two soft tones. Off until asked for. */
function chime() {
  if (!wants("sound") || !globalThis.AudioContext) return;
  const sound = new AudioContext();
  for (const [at, pitch] of [
    [0, 660],
    [0.18, 880],
  ]) {
    const tone = sound.createOscillator();
    const loudness = sound.createGain();
    tone.frequency.value = pitch;
    loudness.gain.setValueAtTime(0.05, sound.currentTime + at);
    loudness.gain.exponentialRampToValueAtTime(0.0001, sound.currentTime + at + 0.5);
    tone.connect(loudness).connect(sound.destination);
    tone.start(sound.currentTime + at);
    tone.stop(sound.currentTime + at + 0.5);
  }
  setTimeout(() => sound.close(), 1000);
}

/** Check boxes for both; the notice only where the browser has any (not over plain http in a network). */
function noticeChoices() {
  const choice = (what, onchange) => {
    const box = el("input", { type: "checkbox", checked: wants(what), onchange });
    return el("label", { class: "tick" }, box, w(`notice.${what}`));
  };
  const notice = async ({ target }) => {
    const allowed = target.checked && (await Notification.requestPermission()) === "granted";
    if (target.checked && !allowed) toast(w("notice.refused"));
    target.checked = allowed;
    store("end_notice", allowed ? "1" : "");
  };
  const sound = ({ target }) => {
    store("end_sound", target.checked ? "1" : "");
    chime();
  };
  return el(
    "div",
    { class: "ticks" },
    globalThis.Notification && window.isSecureContext ? choice("notice", notice) : null,
    choice("sound", sound),
  );
}
