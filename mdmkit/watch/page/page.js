"use strict";
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const LEVEL = Object.fromEntries([...LETTERS].map((letter, level) => [letter, level]));
const THEMES = ["system", "light", "dark"];
const traces = JSON.parse(document.getElementById("traces").textContent);
const rows = traces.flatMap((trace, number) => trace.rows.map((row) => ({ ...row, trace, number })));
const at = (id) => document.getElementById(id);
const state = { step: 0, colour: "when", align: "step", picked: null, timer: null, theme: "system" };
let panes = [];
let total = 0;

function make(tag, attributes = {}, ...inside) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...inside);
  return element;
}

function draw(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// What cannot be seen gets a sign: line ends, control characters, marks that turn the direction of writing.
function visible(piece) {
  if (piece === "") return "∅";
  return piece.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (sign) => {
    if (sign === "\n") return "⏎";
    if (sign === "\t") return "⇥";
    const code = sign.codePointAt(0);
    return code < 32 ? String.fromCodePoint(0x2400 + code) : `‹${code.toString(16)}›`;
  });
}

const nats = (value) => (value >= 10 ? value.toFixed(1) : value >= 0.0995 || value === 0 ? value.toFixed(2) : value.toFixed(4));
const percent = (share) => `${(100 * share).toFixed(share > 0.995 || share < 0.005 ? 2 : 0)} %`;
const title = (row) => `${row.trace.model} · ${row.trace.sampler} · row ${row.index}`;
const naming = new Set(traces.map((trace) => trace.sampler)).size === traces.length ? "sampler" : "title";
const label = (row) => `${traces.length > 1 ? `${row.trace[naming]} · ` : ""}row ${row.index}`;

/** A row's canvas at one step, and what led there. Step s is the canvas after s steps. */
class Replay {
  constructor(row) {
    this.row = row;
    this.ticks = row.steps.length;
    this.width = row.start.length;
    this.fillable = row.start.map((token, p) => token === row.mask && row.order[p] >= 0);
    this.reset();
  }

  reset() {
    this.step = 0;
    this.token = this.row.start.slice();
    this.tick = new Int32Array(this.width).fill(-1);
    this.surely = new Array(this.width).fill(null);
  }

  to(step) {
    if (step < this.step) this.reset();
    for (; this.step < step; this.step++) {
      for (const [p, token, probability] of this.row.steps[this.step].written) {
        const last = this.row.order[p] === this.step;
        this.token[p] = token;
        this.tick[p] = this.step;
        this.surely[p] = last ? this.row.confidence[p] : probability ?? null;
      }
    }
  }

  open(p) {
    return this.fillable[p] && this.token[p] === this.row.mask;
  }

  name(token) {
    return this.row.names[token] ?? `#${token}`;
  }

  /** Position -> entropy (nats) of what is open now, as far as the trace has it. */
  entropies() {
    const found = new Map();
    const [first, letters] = this.row.steps[this.step]?.open ?? [0, ""];
    for (let p = first, n = 0; p < this.width && n < letters.length; p++) {
      if (this.open(p)) found.set(p, this.row.entropy_scale * (LEVEL[letters[n++]] / 63) ** 2);
    }
    return found;
  }

  /** H̃ after each step: entropies of what was written in it. */
  uncertainty() {
    const sums = [0];
    const walk = new Replay(this.row);
    for (let step = 0; step < this.ticks; step++) {
      walk.to(step);
      const seen = walk.entropies();
      let sum = 0;
      for (const [p] of this.row.steps[step].written) {
        sum += this.row.order[p] === step ? this.row.entropy[p] : seen.get(p) ?? 0;
      }
      sums.push(sums[step] + sum);
    }
    return sums;
  }

  /** A position's entropy before each step; null where it was not open or is not known. */
  history(p) {
    const walk = new Replay(this.row);
    return this.row.steps.map((_, step) => {
      walk.to(step);
      return walk.entropies().get(p) ?? null;
    });
  }
}

/** One row on the page. */
class Pane {
  constructor(row, key) {
    this.row = row;
    this.key = key;
    this.replay = new Replay(row);
    this.sums = this.replay.uncertainty();
    this.drawn = [];
    this.step = 0;
    this.most = Math.max(1e-6, ...row.entropy, ...this.replay.entropies().values());
    this.canvas = make("div", { class: row.grid ? "canvas grid" : "canvas", role: "group", "aria-label": `Canvas of ${title(row)}` });
    if (row.grid) this.canvas.style.gridTemplateColumns = `repeat(${row.grid[1]}, 1fr)`;
    this.cells = row.start.map((_, p) => {
      const cell = make("span", { class: "cell", role: "img", "data-p": p });
      this.canvas.append(cell);
      return cell;
    });
    this.canvas.addEventListener("click", (event) => {
      const cell = event.target.closest(".cell");
      if (cell) pick(Number(cell.dataset.p));
    });
    this.facts = make("p", { class: "facts" });
    this.detail = make("p", { class: "detail" });
    this.spark = make("div");
    this.looked = make("div", { class: "looked" });
    this.element = make("section", { class: `pane key-${key}`, "aria-label": title(row) },
      make("h2", {}, title(row)), this.facts, this.canvas, make("h3", {}, "Position"), this.detail, this.spark,
      make("h3", {}, "This step"), this.looked);
    if (!row.recorded) {
      const lost = "This trace holds each position's last write only: what was open had no entropies recorded, and alternatives have values but no tokens.";
      this.element.append(make("p", { class: "note" }, lost));
    }
  }

  show(step) {
    this.step = step;
    this.replay.to(step);
    const seen = this.replay.entropies();
    let open = 0;
    this.cells.forEach((cell, p) => {
      const look = this.look(p, seen);
      if (look.kind === "open") open++;
      const key = JSON.stringify(look);
      if (this.drawn[p] === key) return;
      this.drawn[p] = key;
      cell.className = `cell ${look.kind}${look.fresh ? " fresh" : ""}${look.picked ? " picked" : ""}`;
      if (cell.textContent !== look.text) cell.textContent = look.text;
      cell.style.cssText = look.style;
      cell.setAttribute("aria-label", look.label);
      cell.title = look.label;
    });
    const { row, replay } = this;
    this.facts.textContent =
      `step ${step} of ${replay.ticks} · ${open} open · H̃ ${nats(step === replay.ticks ? row.uncertainty : this.sums[step])}` +
      ` of ${nats(row.uncertainty)} nats · NFE ${row.nfe} in all${traces.length > 1 ? ` · ${row.trace.title}` : ""}`;
    this.showDetail(seen);
    this.showLooked();
  }

  look(p, seen) {
    const { row, replay } = this;
    const picked = state.picked === p;
    const tick = replay.tick[p];
    if (replay.open(p)) {
      const entropy = seen.get(p);
      const unsure = entropy === undefined ? 0 : Math.min(1, Math.sqrt(entropy / this.most));
      const fresh = tick >= 0 && tick === this.step - 1; // taken back just now
      const known = entropy === undefined ? "" : `, entropy ${nats(entropy)} nats`;
      return { kind: "open", text: "·", style: `--unsure:${unsure.toFixed(2)}`, fresh, picked,
        label: `position ${p}: open${fresh ? ", taken back in this step" : ""}${known}` };
    }
    const name = replay.name(replay.token[p]);
    if (tick < 0) {
      const never = row.start[p] === row.mask && row.order[p] < 0;
      return { kind: never ? "left" : "given", text: visible(never ? "–" : name), picked,
        style: !never && state.colour === "token" ? this.hue(p) : "",
        label: `position ${p}: ${never ? "not decoded" : `“${visible(name)}”, given`}` };
    }
    const surely = replay.surely[p];
    return { kind: "written", text: visible(name), fresh: tick === this.step - 1, picked,
      style: `--sure:${surely ?? 0};${this.hue(p)}`,
      label: `position ${p}: “${visible(name)}”, ${this.facts_of(p, surely)}` };
  }

  facts_of(p, surely) {
    const tick = this.replay.tick[p];
    const entropy = this.row.order[p] === tick ? `, entropy ${nats(this.row.entropy[p])} nats` : "";
    return `written in step ${tick + 1}, ${surely === null ? "probability unknown" : `probability ${percent(surely)}`}${entropy}`;
  }

  /** Light, strength and hue of a written token, as the chosen colouring has them. */
  hue(p) {
    const tick = this.replay.tick[p];
    const surely = this.replay.surely[p] ?? 0.5;
    if (state.colour === "token") {
      const hue = (this.replay.token[p] * 137.5) % 360;
      return colour(0.5, 1, hue);
    }
    if (state.colour === "sure") return colour(surely, 1, 50 + 200 * surely);
    if (state.colour === "entropy") {
      const known = this.row.order[p] === tick ? this.row.entropy[p] : 0;
      const share = Math.sqrt(Math.min(1, known / this.most));
      return colour(1 - share, 0.3 + share, 250 - 200 * share);
    }
    const when = this.replay.ticks > 1 ? tick / (this.replay.ticks - 1) : 0;
    return colour(when, 0.2 + 0.8 * surely, 290 - 220 * when);
  }

  showDetail(seen) {
    const p = state.picked;
    this.spark.replaceChildren();
    if (p === null || p >= this.cells.length) {
      this.detail.textContent = p === null ? "Click or tap a token; the keys , and . go on from there." : "This row is shorter.";
      return;
    }
    this.detail.textContent = this.look(p, seen).label;
    if (this.remembered !== p) [this.remembered, this.past] = [p, this.replay.history(p)];
    if (this.past.some((value) => value !== null)) {
      this.spark.append(plot([{ values: this.past, key: `line-${this.key}` }], this.replay.ticks, this.step, 54, "Its entropy while it was open, nats"));
    }
  }

  showLooked() {
    const { row, step } = this;
    const inside = [];
    if (step === 0) {
      inside.push(make("p", { class: "detail" }, "Nothing is written yet."));
    } else {
      const { written, alternatives } = row.steps[step - 1];
      const back = written.filter(([p, token]) => token === row.mask && this.replay.fillable[p]).length;
      const wrote = `${written.length - back} written${back ? `, ${back} taken back` : ""}`;
      const values = row.values[step - 1];
      if (values === null && !alternatives) {
        inside.push(make("p", { class: "detail" }, `${wrote}. Nothing was compared.`));
      } else {
        const count = (alternatives ?? values).filter((one) => one !== null).length;
        inside.push(make("p", { class: "detail" }, `${wrote}. Alternative ${row.choices[step - 1] + 1} was taken, of ${count} compared.`));
        inside.push(this.table(values, alternatives, row.choices[step - 1]));
      }
    }
    this.looked.replaceChildren(...inside);
  }

  table(values, alternatives, taken) {
    const known = (values ?? []).filter((value) => value !== null);
    const [low, high] = [Math.min(...known), Math.max(...known)];
    const body = make("tbody");
    (alternatives ?? values).forEach((_, n) => {
      const value = values?.[n] ?? null;
      if (value === null && !alternatives?.[n]) return;
      const writes = alternatives?.[n]?.map(([p, token]) => `${p}: ${visible(this.replay.name(token))}`).join("   ") ?? "";
      const cell = make("td", { class: "value" }, value === null ? "–" : value.toFixed(4));
      if (value !== null) {
        const bar = make("i", { "aria-hidden": "true" });
        bar.style.width = `${4 + 46 * (high > low ? (value - low) / (high - low) : 1)}%`;
        cell.append(bar);
      }
      const row = make("tr", n === taken ? { class: "taken" } : {}, make("td", {}, n === taken ? `${n + 1} ✓` : `${n + 1}`),
        make("td", { class: "writes" }, writes), cell);
      body.append(row);
    });
    const heads = ["", "position: token", "value"].map((name) => make("th", { scope: "col" }, name || "#"));
    return make("div", { class: "table" }, make("table", { "aria-label": "Alternatives compared" }, make("thead", {}, make("tr", {}, ...heads)), body));
  }
}

function colour(light, strength, hue) {
  return `--back:oklch(calc(var(--early) + (var(--late) - var(--early)) * ${light.toFixed(3)}) calc(var(--strength) * ${strength.toFixed(3)}) ${hue.toFixed(1)})`;
}

/** Lines over the steps 0 to `last`, drawn `height` pixels high; null leaves a gap. */
function plot(lines, last, now, height, label) {
  const high = Math.max(1e-9, ...lines.flatMap(({ values }) => values.map((value) => value ?? 0)));
  const told = `${label}: up to ${nats(high)}`;
  const svg = draw("svg", { viewBox: "0 0 600 100", preserveAspectRatio: "none", role: "img", "aria-label": told });
  svg.style.height = `${height}px`;
  const x = (step) => ((600 * step) / Math.max(1, last)).toFixed(1);
  const y = (value) => (98 - (96 * value) / high).toFixed(1);
  for (const { values, key, stretch } of lines) {
    let path = "";
    values.forEach((value, step) => {
      if (value === null) return;
      const moved = step === 0 || values[step - 1] === null;
      path += `${moved ? "M" : "L"}${x(step * (stretch ?? 1))} ${y(value)}`;
      if (moved && (values[step + 1] ?? null) === null) path += "h2";
    });
    svg.append(draw("path", { class: `line ${key}`, d: path }));
  }
  svg.append(draw("path", { class: "now", d: `M${x(Math.min(now, last))} 0V100` }));
  const under = make("figcaption", {}, make("span", {}, told), make("span", {}, `step ${last}`));
  const figure = make("figure", {});
  figure.append(svg, under);
  return figure;
}

function chart() {
  const lines = panes.map((pane, n) => ({ values: pane.sums, key: `line-${n}`,
    stretch: state.align === "share" ? total / Math.max(1, pane.replay.ticks) : 1 }));
  at("lines").replaceChildren(plot(lines, total, state.step, 110, "H̃ of what is written, nats"));
}

function legend() {
  const shades = (pairs) => pairs.map(([light, strength, hue]) => colour(light, strength, hue).slice("--back:".length)).join(",");
  const kinds = {
    when: ["early", [0, 0.25, 0.5, 0.75, 1].map((t) => [t, 1, 290 - 220 * t]), "late; pale: unsure"],
    sure: ["unsure", [0, 0.25, 0.5, 0.75, 1].map((t) => [t, 1, 50 + 200 * t]), "sure"],
    entropy: ["low entropy", [0, 0.25, 0.5, 0.75, 1].map((t) => [1 - t, 0.3 + t, 250 - 200 * t]), "high"],
    token: ["one colour a token", [0, 1, 2, 3].map((t) => [0.5, 1, 137.5 * t % 360]), ""],
  };
  const [from, pairs, to] = kinds[state.colour];
  const ramp = make("i", { "aria-hidden": "true" });
  ramp.style.background = `linear-gradient(90deg, ${shades(pairs)})`;
  const parts = [make("span", {}, from, ramp, to), make("span", {}, "bar under a token: its probability"), make("span", {}, "ringed: this step")];
  if (panes.some((pane) => pane.row.recorded)) parts.push(make("span", {}, "· open, the darker the higher its entropy"));
  at("legend").replaceChildren(...parts);
}

const own = (pane) =>
  state.align === "share" ? Math.round((state.step / Math.max(1, total)) * pane.replay.ticks) : Math.min(state.step, pane.replay.ticks);

function show(step = state.step) {
  state.step = Math.max(0, Math.min(total, step));
  for (const pane of panes) pane.show(own(pane));
  const slider = at("slider");
  slider.max = total;
  slider.value = state.step;
  slider.setAttribute("aria-valuetext", `step ${state.step} of ${total}`);
  at("count").textContent = `${state.step} / ${total}`;
  chart();
}

function pick(p) {
  state.picked = state.picked === p ? null : p;
  show();
  at("said").textContent = panes.map((pane) => pane.detail.textContent).join("; ");
}

function go(step) {
  stop();
  show(step);
  at("said").textContent = panes.map((pane) => `${pane.facts.textContent}. ${pane.looked.querySelector("p").textContent}`).join("; ");
}

function stop() {
  clearInterval(state.timer);
  state.timer = null;
  at("play").textContent = "▶ Play";
  at("play").setAttribute("aria-label", "Play");
}

function play() {
  if (state.timer !== null) return stop();
  if (state.step >= total) show(0);
  // A short trace at a readable pace, a long one in about ten seconds.
  const beat = Math.max(33, Math.min(600, 10000 / Math.max(1, total))) / Number(at("pace").value);
  state.timer = setInterval(() => (state.step >= total ? stop() : show(state.step + 1)), beat);
  at("play").textContent = "❚❚ Pause";
  at("play").setAttribute("aria-label", "Pause");
}

function choose(keep) {
  const chosen = [at("row-0").value, at("row-1").value].filter((value) => value !== "").map((value) => rows[Number(value)]);
  panes = chosen.map((row, n) => new Pane(row, n));
  at("panes").replaceChildren(...panes.map((pane) => pane.element));
  total = Math.max(...panes.map((pane) => pane.replay.ticks));
  at("align-label").hidden = panes.length < 2;
  const images = panes.some((pane) => pane.row.grid);
  document.title = `mdmkit trace: ${chosen.map(title).join(" | ")}`;
  for (const option of at("colour").options) if (option.value === "token") option.hidden = !images;
  if (!images && state.colour === "token") at("colour").value = state.colour = "when";
  legend();
  show(keep ? state.step : total);
}

/** The same row of both traces moves on together; in one trace, the row of the first pane. */
function otherRow(by) {
  for (const id of panes.length > 1 && traces.length > 1 ? ["row-0", "row-1"] : ["row-0"]) {
    const now = rows[Number(at(id).value)];
    const next = rows.indexOf(now) + by;
    if (rows[next]?.number === now.number) at(id).value = next;
  }
  stop();
  choose(true);
}

function paint(theme) {
  state.theme = theme;
  const dark = theme === "dark" || (theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  at("theme").textContent = `Theme: ${theme}`;
  try { localStorage.setItem("mdmkit-trace-theme", theme); } catch { /* a page without storage forgets it */ }
}

const next = (list, now) => list[(list.indexOf(now) + 1) % list.length];
const colours = () => [...at("colour").options].filter((option) => !option.hidden).map((option) => option.value);
const recolour = (value) => { state.colour = at("colour").value = value; legend(); show(); };

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("select")) return;
  const pressing = event.target.closest("button, summary");
  const ten = event.shiftKey ? 10 : 1;
  const width = Math.max(...panes.map((pane) => pane.cells.length));
  const picked = state.picked ?? -1;
  const actions = {
    ArrowLeft: () => go(state.step - ten), ArrowRight: () => go(state.step + ten), Home: () => go(0), End: () => go(total),
    ArrowUp: () => otherRow(-1), ArrowDown: () => otherRow(1), ",": () => picked > 0 && pick(picked - 1),
    ".": () => picked < width - 1 && pick(picked + 1), c: () => recolour(next(colours(), state.colour)),
    t: () => paint(next(THEMES, state.theme)), " ": pressing ? null : play,
  };
  const act = actions[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function begin() {
  for (const id of ["row-0", "row-1"]) {
    if (id === "row-1") at(id).append(make("option", { value: "" }, "nothing"));
    for (const [number, trace] of traces.entries()) {
      const group = traces.length > 1 ? make("optgroup", { label: trace.title }) : at(id);
      rows.forEach((row, n) => row.number === number && group.append(make("option", { value: n }, label(row))));
      if (group !== at(id)) at(id).append(group);
    }
    at(id).addEventListener("change", () => { stop(); choose(true); });
  }
  if (traces.length > 1) at("row-1").value = rows.findIndex((row) => row.number === 1);
  at("row-1").parentElement.hidden = rows.length < 2;
  at("row-0").parentElement.hidden = rows.length < 2;
  at("colour").addEventListener("change", (event) => recolour(event.target.value));
  at("align").addEventListener("change", (event) => { state.align = event.target.value; show(); });
  at("choices").addEventListener("submit", (event) => event.preventDefault());
  at("slider").addEventListener("input", (event) => go(Number(event.target.value)));
  at("first").addEventListener("click", () => go(0));
  at("back").addEventListener("click", () => go(state.step - 1));
  at("on").addEventListener("click", () => go(state.step + 1));
  at("last").addEventListener("click", () => go(total));
  at("play").addEventListener("click", play);
  at("pace").addEventListener("change", () => { if (state.timer !== null) { stop(); play(); } });
  at("theme").addEventListener("click", () => paint(next(THEMES, state.theme)));
  document.addEventListener("keydown", onKey);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => paint(state.theme));
  let theme = "system";
  try { theme = localStorage.getItem("mdmkit-trace-theme") ?? theme; } catch { /* see paint */ }
  paint(THEMES.includes(theme) ? theme : "system");
  choose(false);
}

begin();
