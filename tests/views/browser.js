"use strict";
// A document as small as the report's script needs it: node browser.js PAGE.json, where the page is
// {script, tree: [tag, {attributes}, [children or texts]]} and `acts` are what a reader does. What stands
// there afterwards is printed as JSON, once for each act.
const fs = require("fs");
const vm = require("vm");

const camel = (name) => name.replace(/-(.)/g, (_, letter) => letter.toUpperCase());
const simple = (selector) => {
  const [, tag, id, css, attribute] = /^([\w-]*)(?:#([\w-]+))?(?:\.([\w-]+))?(?:\[([\w-]+)\])?$/.exec(selector);
  return (node) => (!tag || node.tag === tag) && (!id || node.getAttribute("id") === id)
    && (!css || node.classList.contains(css)) && (!attribute || node.getAttribute(attribute) !== null);
};

class Style {
  setProperty(name, value) { this[name] = value; }
}

class Element {
  constructor(tag) {
    Object.assign(this, { tag, attributes: {}, children: [], parent: null, style: new Style(), dataset: {}, heard: {} });
    this.viewBox = { baseVal: { width: 320 } };
    this.classList = {
      names: () => this.className.split(/\s+/).filter(Boolean),
      contains: (name) => this.classList.names().includes(name),
      add: (name) => { this.className = [...this.classList.names(), name].join(" "); },
      remove: (name) => { this.className = this.classList.names().filter((n) => n !== name).join(" "); },
    };
  }
  get className() { return this.attributes.class ?? ""; }
  set className(value) { this.attributes.class = value; }
  get textContent() { return this.children.map((c) => (typeof c === "string" ? c : c.textContent)).join(""); }
  set textContent(value) { this.children = [String(value)]; }
  set innerHTML(_) { throw new Error("markup was built from a text"); }
  set outerHTML(_) { throw new Error("markup was built from a text"); }
  insertAdjacentHTML() { throw new Error("markup was built from a text"); }
  setAttribute(name, value) {
    this.attributes[name] = String(value);
    if (name.startsWith("data-")) this.dataset[camel(name.slice(5))] = String(value);
    if (["hidden", "checked", "disabled"].includes(name)) this[name] = true;
    if (name === "value") this.value = value;
  }
  getAttribute(name) { return this.attributes[name] ?? null; }
  append(...given) {
    for (const node of given) {
      if (node instanceof Element) node.parent = this;
      this.children.push(node instanceof Element ? node : String(node));
    }
  }
  replaceChildren(...given) { this.children = []; this.append(...given); }
  *within() {
    for (const node of this.children) if (node instanceof Element) { yield node; yield* node.within(); }
  }
  querySelectorAll(selector) { return [...this.within()].filter(simple(selector)); }
  querySelector(selector) { return this.querySelectorAll(selector)[0] ?? null; }
  matches(selector) { return selector === ":focus-visible" ? true : simple(selector)(this); }
  closest(selector) { return this.matches(selector) ? this : this.parent && this.parent.closest(selector); }
  getBoundingClientRect() { return { left: 0, top: 0, right: 320, bottom: 10, width: 320, height: 10 }; }
  addEventListener(kind, heard) { (this.heard[kind] ??= []).push(heard); }
  dispatch(kind, more = {}) {
    const event = { target: this, preventDefault() {}, ...more };
    for (let node = this; node; node = node.parent) for (const heard of node.heard[kind] ?? []) heard(event);
  }
  focus() { this.dispatch("focus"); this.dispatch("focusin"); }
}

function built([tag, attributes, children]) {
  const node = new Element(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value ?? "");
  node.append(...children.map((c) => (typeof c === "string" ? c : built(c))));
  return node;
}

const page = JSON.parse(fs.readFileSync(process.argv[2], "utf-8"));
const root = built(page.tree);
const document = {
  documentElement: root,
  createElement: (tag) => new Element(tag),
  getElementById: (id) => root.querySelector(`#${id}`),
  querySelectorAll: (selector) =>
    selector.split(/\s+/).length > 1 ? null : root.querySelectorAll(selector.replace(/\[data-chart\]/, ""))
      .filter((n) => !selector.includes("[data-chart]") || n.getAttribute("data-chart") !== null),
};
const matchMedia = () => ({ matches: false, addEventListener() {} });

function seen() {
  const by = (id) => document.getElementById(id);
  const cells = by("rows") ? by("rows").querySelectorAll("[data-cell]") : [];
  const told = by("detail") ? by("detail").querySelectorAll("tr") : [];
  return {
    hidden: by("heat") ? by("heat").hidden === true : null,
    cells: cells.map((c) => ({ text: c.textContent, class: c.className, label: c.getAttribute("aria-label"),
      share: c.style["--a"], area: c.style["grid-area"], paint: c.style["background-image"] })),
    chosen: cells.findIndex((c) => c.classList.contains("on")),
    detail: Object.fromEntries(told.map((tr) => tr.children.map((c) => c.textContent))),
    about: by("detail") ? by("detail").querySelectorAll("p").map((p) => p.textContent) : [],
    prompt: by("prompt")?.textContent, legend: by("legend")?.textContent, summary: by("summary")?.textContent,
    theme: root.dataset.theme ?? null,
    charts: root.querySelectorAll("figure").map((f) => f.querySelector("output").textContent),
    tags: [...new Set([...root.within()].map((n) => n.tag))].sort(),
  };
}

const acts = {
  look() {},
  point: (i) => document.getElementById("rows").querySelectorAll("[data-cell]")[i].dispatch("pointerover"),
  press: (key) => document.getElementById("rows").querySelector(".on").dispatch("keydown", { key }),
  pick: (id, value) => document.getElementById(id).querySelectorAll("input").find((n) => n.value === value).dispatch("change"),
  click: (id) => document.getElementById(id).dispatch("click"),
  select: (id, value) => { const node = document.getElementById(id); node.value = value; node.dispatch("change"); },
  curve: (i, x) => root.querySelectorAll("figure")[i].querySelector("svg").dispatch("pointermove", { clientX: x }),
  leave: (i) => root.querySelectorAll("figure")[i].querySelector("svg").dispatch("pointerleave"),
};
const context = vm.createContext({ document, matchMedia, console });
vm.runInContext(page.script, context, { filename: "report.js" });
const answers = page.acts.map(([act, ...given]) => { acts[act](...given); return seen(); });
console.log(JSON.stringify(answers));
