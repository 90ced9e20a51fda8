
"use strict";
// Texts of others reach the page through textContent alone.
(() => {
  const { pairs, ...made } = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const key = `herdbook form ${made.form}`;
  const words = { left: "first is better", right: "second is better", tie: "a tie" };
  let who = "";
  let labels = {}; // digest of a pair → output_1, output_2 or tie, as the pair names its outputs
  let past = []; // [place, label before] of every label, for undo
  let place = 0;

  // A browser can refuse to keep anything: the page then works until it is closed.
  const kept = (name) => {
    try { return JSON.parse(localStorage.getItem(name)); } catch { return null; }
  };
  const keep = () => {
    try {
      localStorage.setItem(key, JSON.stringify({ who }));
      localStorage.setItem(`${key} ${who}`, JSON.stringify({ labels, past, place }));
    } catch { say("This browser keeps no progress: save your labels before you close the page."); }
  };
  const say = (text) => { at("said").textContent = text; };

  // ------------------------------------------------------------------------------------ labels
  const outputOn = (side, pair) =>
    side === "tie" ? "tie" : (side === "left") === pair.turned ? "output_2" : "output_1";
  const sideOf = (pair) =>
    ["left", "right", "tie"].find((side) => outputOn(side, pair) === labels[pair.digest]);
  const nDone = () => pairs.filter((pair) => pair.digest in labels).length;

  const choose = (side) => {
    const { digest } = pairs[place];
    const here = place + 1;
    past.push([place, labels[digest] ?? null]);
    labels[digest] = outputOn(side, pairs[place]);
    const open = (from, to) => pairs.slice(from, to).findIndex((pair) => !(pair.digest in labels));
    const ahead = open(place + 1);
    const behind = open(0, place);
    if (ahead >= 0) place += 1 + ahead;
    else if (behind >= 0) place = behind;
    show(`Pair ${here}: ${words[side]}.${nDone() === pairs.length ? " All pairs are labelled." : ""}`);
  };
  const undo = () => {
    if (!past.length) return say("There is nothing to undo.");
    const [where, before] = past.pop();
    if (before === null) delete labels[pairs[where].digest];
    else labels[pairs[where].digest] = before;
    place = where;
    show("Label taken back.");
  };
  const move = (by) => {
    const there = Math.min(Math.max(place + by, 0), pairs.length - 1);
    if (there === place) return say(by < 0 ? "This is the first pair." : "This is the last pair.");
    place = there;
    show("");
  };

  // -------------------------------------------------------------------------------- what is seen
  const fill = (element, text) => {
    element.textContent = text.trim() ? text : "(an empty answer)";
    element.classList.toggle("empty", !text.trim());
  };
  const show = (before) => {
    const pair = pairs[place];
    const side = sideOf(pair);
    const done = nDone();
    at("pair").textContent =
      `Pair ${place + 1} of ${pairs.length}` + (side ? ` – your label: ${words[side]}` : "");
    at("turns").replaceChildren(...pair.turns.map(([role, content]) => {
      const turn = document.createElement("div");
      turn.className = "turn";
      const head = document.createElement("h3");
      head.textContent = { user: "Question", assistant: "Earlier answer" }[role] ?? "Setting";
      const text = document.createElement("div");
      text.className = "text";
      text.dir = "auto";
      text.textContent = content;
      turn.append(head, text);
      return turn;
    }));
    fill(at("answer-1"), pair.answers[0]);
    fill(at("answer-2"), pair.answers[1]);
    at("answer-1").parentElement.classList.toggle("chosen", side === "left");
    at("answer-2").parentElement.classList.toggle("chosen", side === "right");
    for (const [id, meant] of [["choose-1", "left"], ["choose-0", "tie"], ["choose-2", "right"]])
      at(id).setAttribute("aria-pressed", String(side === meant));
    at("previous").disabled = place === 0;
    at("next").disabled = place === pairs.length - 1;
    at("undo").disabled = !past.length;
    at("done").hidden = done < pairs.length;
    at("export").classList.toggle("primary", done === pairs.length);
    at("bar").value = done;
    at("count").textContent = `${done} of ${pairs.length} labelled`;
    say(before);
    at("pair").focus({ preventScroll: true });
    window.scrollTo(0, 0);
    keep();
  };

  // ------------------------------------------------------------------------------- who, and files
  const begin = (name) => {
    who = name;
    ({ labels, past, place } = kept(`${key} ${who}`) ?? { labels: {}, past: [], place: 0 });
    at("name").textContent = who;
    at("start").hidden = true;
    for (const id of ["who", "progress", "work"]) at(id).hidden = false;
    show("");
  };
  const ask = () => {
    for (const id of ["who", "progress", "work"]) at(id).hidden = true;
    at("start").hidden = false;
    at("annotator").value = "";
    at("annotator").focus();
  };
  const save = () => {
    const text = JSON.stringify({ ...made, annotator: who, labels }, null, 1) + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    const name = who.replace(/[^A-Za-z0-9]+/g, "-").replace(/^-|-$/g, "") || "annotator";
    link.download = `labels-${name}-${made.form.slice(-8)}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    say(`${nDone()} labels saved.`);
  };

  at("start").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = at("annotator").value.replace(/[\p{C}\p{Z}]+/gu, " ").trim();
    at("wrong").textContent = name ? "" : "A name or initials, so that your labels can be told apart.";
    if (name) begin(name);
    else at("annotator").focus();
  });
  const keys = {
    1: () => choose("left"), 2: () => choose("right"), 0: () => choose("tie"), t: () => choose("tie"),
    arrowleft: () => move(-1), k: () => move(-1), arrowright: () => move(1), j: () => move(1), u: undo,
  };
  document.addEventListener("keydown", (event) => {
    // A key that is held down must not label one pair after the other.
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || at("work").hidden) return;
    const act = Object.hasOwn(keys, event.key.toLowerCase()) && keys[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  });
  const clicks = {
    "choose-1": keys[1], "choose-0": keys[0], "choose-2": keys[2],
    previous: keys.k, next: keys.j, undo, export: save, change: ask,
  };
  for (const [id, act] of Object.entries(clicks)) at(id).addEventListener("click", act);
  const last = kept(key);
  if (last && last.who) begin(last.who);
  else at("annotator").focus();
})();
