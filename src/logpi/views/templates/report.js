"use strict";
// Everything a model wrote reaches the page through textContent; nothing here builds markup from strings.
const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function make(tag, given = {}, ...inside) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "class") node.className = value;
    else if (name === "style") for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...inside.filter((x) => x !== null));
  return node;
}

// null is "not assigned", which is not 0.
function figure(v, digits = 3, sign = false) {
  if (v === null || v === undefined) return "–";
  if (typeof v === "boolean") return v ? "yes" : "no";
  if (typeof v === "string") return v;
  if (v === 0) return "0";
  const size = Math.abs(v);
  const text = size < 1e-3 || size >= 1e5
    ? v.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e")
    : String(Number(v.toPrecision(digits)));
  return (sign && v > 0 ? "+" : "") + text.replace(/-/g, "−");
}

// ---- curves -------------------------------------------------------------------------------------------
for (const box of document.querySelectorAll(".chart[data-chart]")) {
  const series = DATA.charts[box.dataset.chart];
  const svg = box.querySelector("svg"), cross = box.querySelector(".cross");
  const mark = box.querySelector(".mark"), output = box.querySelector("output");
  const last = output.textContent;
  let at = series.x.length - 1;
  const read = (i) => {
    at = i;
    const [x, y] = series.at[i];
    cross.setAttribute("x1", x); cross.setAttribute("x2", x);
    mark.setAttribute("cx", x); mark.setAttribute("cy", y);
    cross.setAttribute("visibility", "visible"); mark.setAttribute("visibility", "visible");
    const span = series.mean > 1 ? `mean of ${series.mean} up to ${series.x[i]}` : series.x[i];
    output.textContent = `${span}: ${figure(series.y[i], 4)}`;
  };
  const leave = () => {
    cross.setAttribute("visibility", "hidden"); mark.setAttribute("visibility", "hidden");
    output.textContent = last;
  };
  svg.addEventListener("pointermove", (event) => {
    const frame = svg.getBoundingClientRect();
    const x = ((event.clientX - frame.left) / frame.width) * svg.viewBox.baseVal.width;
    let best = 0;
    series.at.forEach((p, i) => { if (Math.abs(p[0] - x) < Math.abs(series.at[best][0] - x)) best = i; });
    read(best);
  });
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) read(at); });
  svg.addEventListener("blur", leave);
  svg.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: series.x.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    read(Math.max(0, Math.min(series.x.length - 1, to)));
  });
}

// ---- light and dark -----------------------------------------------------------------------------------
const theme = byId("theme"), system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
const name = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
theme.hidden = false;
theme.addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; name(); });
system.addEventListener("change", name);
name();

// ---- the heat map -------------------------------------------------------------------------------------
const QUANTITIES = {
  coefficient: { label: "coefficient", of: (r, i) => at(r, "coefficient", i) },
  push: { label: "weight × coefficient", of: (r, i) => at(r, "push", i) },
  credit: { label: "credit", of: (r, i) => at(r, "credit", i) },
  ratio: { label: "ratio", of: (r, i) => at(r, "ratio", i), shade: (v) => Math.log(v), back: (v) => figure(Math.exp(v)), unit: "1" },
  logp: { label: "log π", of: (r, i) => at(r, "logp", i), plain: true },
  reward: { label: "reward", of: (r, i) => at(r, "reward", i) },
};
const LINES = [["logp", "log π"], ["logp_old", "log π, old"], ["ratio", "ratio"], ["logp_sampler", "log π, sampler"], ["logp_ref", "log π, reference"],
  ["reward", "reward here"], ["value", "value"], ["credit", "credit"], ["coefficient", "coefficient"], ["weight", "weight"],
  ["push", "weight × coefficient"], ["clipped", "clipped"]];
const SIGNED = new Set(["reward", "credit", "coefficient", "push"]);
const state = { iteration: 0, group: 0, view: "text", colour: "coefficient" };

function at(row, field, i) { return row[field] ? row[field][i] : null; }
const numeric = (v) => typeof v === "number";
const sum = (values) => values.reduce((a, b) => a + b, 0);
const pushes = (row) => row.token.map((_, i) => at(row, "push", i) ?? at(row, "coefficient", i)).filter(numeric);
const effort = (row) => sum(pushes(row).map(Math.abs));
const group = () => DATA.iterations[state.iteration].groups[state.group];

function shaded(value) {
  const how = QUANTITIES[state.colour];
  return numeric(value) && how.shade ? how.shade(value) : value;
}

function scale() {
  // One scale for the whole iteration, so that groups can be compared.
  let most = 0;
  for (const g of DATA.iterations[state.iteration].groups) for (const r of g.rows) r.token.forEach((_, i) => {
    const v = shaded(QUANTITIES[state.colour].of(r, i));
    if (numeric(v) && Number.isFinite(v)) most = Math.max(most, Math.abs(v));
  });
  return most || 1;
}

function look(value, most) {
  const v = shaded(value);
  if (!numeric(v)) return ["none", 0];
  if (v === 0) return ["zero", 0];
  const kind = QUANTITIES[state.colour].plain ? "other" : v > 0 ? "up" : "down";
  return [kind, (0.08 + 0.5 * Math.sqrt(Math.min(1, Math.abs(v) / most))).toFixed(3)];
}

function token(row, i, most) {
  const value = row.mask[i] ? QUANTITIES[state.colour].of(row, i) : null;
  const [kind, share] = look(value, most);
  return make("span", { class: `t ${kind}`, style: { "--a": share }, tabindex: "-1", "data-cell": "" , role: "button",
    "aria-label": `${row.alone[i]}, ${QUANTITIES[state.colour].label} ${figure(value, 3, true)}` }, row.token[i] || "∅");
}

function drawText(rows, most) {
  const whole = sum(rows.map(effort)) || 1, largest = Math.max(...rows.map(effort)) || 1;
  const box = make("div", {}, make("div", { class: "rowline head" },
    make("span", {}, "row"), make("span", { class: "n" }, "reward"), make("span", {}, "share"),
    make("span", { class: "wide" }, "completion")));
  const common = group().rows.every((r) => r.prompt === group().rows[0].prompt);
  for (const row of rows) {
    const up = sum(pushes(row).filter((v) => v > 0)) / largest, down = -sum(pushes(row).filter((v) => v < 0)) / largest;
    const share = make("span", { class: "share", role: "img", title: `${figure(100 * effort(row) / whole, 2)} % of Σ |weight · coefficient|`,
      "aria-label": `${figure(100 * effort(row) / whole, 2)} percent of the push` },
      make("i", { class: "up", style: { width: `${up * 100}%` } }), make("i", { class: "down", style: { width: `${down * 100}%` } }));
    const text = make("span", { class: "tokens" }, common ? null : make("span", { class: "own" }, row.prompt));
    row.token.forEach((_, i) => { const node = token(row, i, most); node.pick = [[row, i]]; text.append(node); });
    box.append(make("div", { class: "rowline" }, make("span", { class: "id" }, String(row.row)),
      make("span", { class: "n" }, figure(row.total)), share, text));
  }
  return box;
}

function drawTree(rows, most) {
  // Sorted, rows with the same prefix are neighbours; a cell covers all rows that share everything up to it.
  const order = [...rows].sort((a, b) => compare(a.token, b.token));
  const width = Math.max(...order.map((r) => r.token.length));
  const dense = order.length > 24 ? " dense" : "";
  const tree = make("div", { class: `tree${dense}`, style: { "grid-template-columns": `max-content repeat(${width}, minmax(min-content, max-content))` } });
  order.forEach((row, y) => tree.append(make("div", { class: "rowname", style: { "grid-area": `${y + 1} / 1` } },
    `${row.row}  reward ${figure(row.total)}`)));
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < order.length;) {
      let end = y + 1;
      if (x >= order[y].token.length) { y = end; continue; }
      while (end < order.length && same(order[y], order[end], x)) end++;
      tree.append(cell(order.slice(y, end), x, y, most));
      y = end;
    }
  }
  return tree;
}

const compare = (a, b) => {
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
  return a.length - b.length;
};
const same = (a, b, x) => a.prompt === b.prompt && b.token.length > x && a.token.slice(0, x + 1).every((t, i) => t === b.token[i]);

function cell(rows, x, y, most) {
  const values = rows.map((r) => (r.mask[x] ? QUANTITIES[state.colour].of(r, x) : null));
  const looks = values.map((v) => look(v, most));
  const joined = rows.length > 1;
  const bands = looks.map(([kind, share], i) => {
    const paint = kind === "none" || kind === "zero" ? "transparent" : `rgb(var(--${kind}) / ${share})`;
    return `${paint} ${(100 * i) / rows.length}% ${(100 * (i + 1)) / rows.length}%`;
  });
  const kind = joined ? (looks.every(([k]) => k === "none") ? "none" : "") : looks[0][0];
  const node = make("div", { class: `cell ${joined ? "joined" : ""} ${kind}`, tabindex: "-1", "data-cell": "", role: "button",
    style: { "grid-area": `${y + 1} / ${x + 2} / ${y + 1 + rows.length} / ${x + 3}`, "background-image": `linear-gradient(${bands.join(",")})` },
    "aria-label": `${rows[0].alone[x]}, ${rows.length} row${joined ? "s" : ""}` }, make("span", {}, rows[0].alone[x]));
  node.pick = rows.map((r) => [r, x]);
  return node;
}

function detail(picked) {
  const aside = byId("detail");
  aside.replaceChildren();
  if (!picked) {
    aside.append(make("p", {}, "Point at a token, or press Tab and use the arrow keys, to read its figures."));
    return;
  }
  const [row, i] = picked[0];
  const table = make("table");
  const line = (label, value) => table.append(make("tr", {}, make("th", { scope: "row" }, label), make("td", {}, value)));
  aside.append(make("h3", {}, row.alone[i]));
  if (picked.length === 1) {
    aside.append(make("p", {}, `token ${i} of row ${row.row}, reward ${figure(row.total)}`));
    const optional = new Set(["logp_sampler", "value"]);
    for (const [field, label] of LINES) if (row[field] || !optional.has(field)) line(label, figure(at(row, field, i), 4, SIGNED.has(field)));
    if (!row.mask[i]) line("decided by the policy", "no");
    for (const [key, value] of Object.entries(row.columns)) line(key, value);
  } else {
    aside.append(make("p", {}, `token ${i}, the same decision in ${picked.length} rows`));
    const values = picked.map(([r, k]) => QUANTITIES[state.colour].of(r, k)).filter(numeric);
    const push = picked.map(([r, k]) => at(r, "push", k)).filter(numeric);
    const mean = values.length ? sum(values) / values.length : null;
    const spread = mean === null ? null : Math.sqrt(sum(values.map((v) => (v - mean) ** 2)) / values.length);
    line("log π", figure(at(row, "logp", i), 4));
    line(`${QUANTITIES[state.colour].label}: mean`, figure(mean, 4, true));
    line("standard deviation", figure(spread, 4));
    line("smallest, largest", values.length ? `${figure(Math.min(...values), 3, true)}, ${figure(Math.max(...values), 3, true)}` : "–");
    line("Σ weight × coefficient", figure(push.length ? sum(push) : null, 4, true));
  }
  aside.append(table);
}

function drawLegend(most) {
  const how = QUANTITIES[state.colour], box = byId("legend");
  const show = how.back ?? ((v) => figure(v, 3, !how.plain));
  const paint = (kind, share) => `rgb(var(--${kind}) / ${share})`;
  const bar = make("i");
  bar.style.background = how.plain
    ? `linear-gradient(90deg, ${paint("other", 0.58)}, ${paint("other", 0.08)})`
    : `linear-gradient(90deg, ${paint("down", 0.58)}, ${paint("down", 0.08)} 49%, transparent 49% 51%, ${paint("up", 0.08)} 51%, ${paint("up", 0.58)})`;
  const [low, high] = how.plain ? [show(-most), "0"] : [show(-most), show(most)];
  box.replaceChildren(how.label, make("span", { class: "bar" }, low, bar, high),
    make("span", { class: "t none" }, "not assigned"), make("span", {}, `no colour: ${how.unit ? `exactly ${how.unit}` : "exactly 0"}`));
}

function summary(rows) {
  const totals = rows.map((r) => r.total).filter(numeric);
  const all = rows.flatMap((r) => pushes(r).map(Math.abs)).sort((a, b) => b - a);
  const whole = sum(all), zero = all.filter((v) => v === 0).length;
  const mean = totals.length ? sum(totals) / totals.length : null;
  const parts = [`${rows.length} row${rows.length > 1 ? "s" : ""}, mean reward ${figure(mean)}`];
  if (!whole) parts.push("nothing here pushes the policy: every coefficient is 0 or was not assigned");
  else {
    let carried = 0, count = 0;
    while (carried < 0.8 * whole) carried += all[count++];
    parts.push(`${count} of ${all.length} tokens carry 80 % of the push`);
    if (zero) parts.push(`${zero} with a coefficient of 0`);
  }
  return parts.join("; ") + ".";
}

function draw() {
  const g = group(), most = scale(), rows = g.rows;
  byId("prompt").textContent = rows.every((r) => r.prompt === g.prompt) ? g.prompt || "(empty prompt)" : "";
  byId("rows").replaceChildren(state.view === "tree" ? drawTree(rows, most) : drawText(rows, most));
  drawLegend(most);
  byId("summary").textContent = summary(rows);
  // Begin with the token that is pushed most, or with the root of the tree.
  const cells = [...byId("rows").querySelectorAll("[data-cell]")];
  const strength = (c) => Math.abs(sum(c.pick.map(([r, i]) => at(r, "push", i) ?? at(r, "coefficient", i)).filter(numeric)));
  if (cells.length) choose(state.view === "tree" ? cells[0] : cells.reduce((a, b) => (strength(b) > strength(a) ? b : a)));
  else detail(null);
}

function choices(id, names) {
  for (const [value, label] of names) {
    const input = make("input", { type: "radio", name: id, value, checked: state[id] === value,
      onchange: () => { state[id] = value; draw(); } });
    byId(id).append(make("label", {}, input, make("span", {}, label)));
  }
}

function fillGroups() {
  const groups = DATA.iterations[state.iteration].groups;
  byId("group").replaceChildren(...groups.map((g, i) => {
    const totals = g.rows.map((r) => r.total).filter(numeric);
    const mean = totals.length ? `reward ${figure(sum(totals) / totals.length)} · ` : "";
    const shared = g.rows.every((r) => r.prompt === g.prompt);
    const text = shared ? (g.prompt || "(empty prompt)").replace(/\s+/g, " ") : `all ${g.rows.length} rows`;
    return make("option", { value: i }, `${mean}${text.length > 42 ? "…" + text.slice(-42) : text}`);
  }));
  // Begin where something is pushed.
  const efforts = groups.map((g) => sum(g.rows.map(effort)));
  state.group = efforts.indexOf(Math.max(...efforts));
  byId("group").value = state.group;
}

function goTo(i) {
  state.iteration = Math.max(0, Math.min(DATA.iterations.length - 1, i));
  byId("iteration").value = state.iteration;
  byId("back").disabled = state.iteration === 0;
  byId("next").disabled = state.iteration === DATA.iterations.length - 1;
  fillGroups();
  draw();
}

function choose(node) {
  for (const old of byId("rows").querySelectorAll(".on")) { old.classList.remove("on"); old.tabIndex = -1; }
  node.classList.add("on");
  node.tabIndex = 0;
  detail(node.pick);
}

if (byId("heat") && DATA.iterations.length) {
  const rows = byId("rows");
  const cellOf = (event) => event.target.closest("[data-cell]");
  for (const kind of ["pointerover", "focusin", "click"]) {
    rows.addEventListener(kind, (event) => { const node = cellOf(event); if (node) choose(node); });
  }
  rows.addEventListener("keydown", (event) => {
    const cells = [...rows.querySelectorAll("[data-cell]")], here = cells.indexOf(cellOf(event));
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    let to = step ? cells[here + step] : null;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const a = cells[here].getBoundingClientRect(), down = event.key === "ArrowDown";
      const beyond = cells.filter((c) => { const b = c.getBoundingClientRect(); return down ? b.top >= a.bottom - 2 : b.bottom <= a.top + 2; });
      const far = (c) => { const b = c.getBoundingClientRect(); return Math.abs(b.top - a.top) * 4 + Math.abs(b.left - a.left); };
      to = beyond.sort((p, q) => far(p) - far(q))[0];
    }
    if (to) { event.preventDefault(); to.focus(); }
  });
  byId("iteration").append(...DATA.iterations.map((x, i) => make("option", { value: i }, String(x.iteration))));
  byId("iteration").addEventListener("change", (event) => goTo(Number(event.target.value)));
  byId("back").addEventListener("click", () => goTo(state.iteration - 1));
  byId("next").addEventListener("click", () => goTo(state.iteration + 1));
  byId("group").addEventListener("change", (event) => { state.group = Number(event.target.value); draw(); });
  choices("view", [["text", "Text"], ["tree", "Tree"]]);
  const present = (field) => DATA.iterations.some((x) => x.groups.some((g) => g.rows.some((r) => r[field])));
  choices("colour", Object.entries(QUANTITIES).filter(([k]) => k === "coefficient" || present(k)).map(([k, q]) => [k, q.label]));
  const pushed = DATA.iterations.map((x) => sum(x.groups.flatMap((g) => g.rows.map(effort))));
  let start = pushed.length - 1;
  while (start > 0 && pushed[start] === 0) start--;
  goTo(pushed[start] ? start : pushed.length - 1);
  byId("heat").hidden = false;
}
