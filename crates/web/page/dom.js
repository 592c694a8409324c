// Elements, made of text alone: what comes from the API is never read as HTML.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** An element with attributes and children; what is null or false is left out. */
export function el(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same of a drawing. */
export function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat(2).filter((child) => child != null && child !== false));
  return node;
}

/** A table with a head, in a box of its own that scrolls where it is too wide. */
export function table(caption, head, rows) {
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el("table", {},
      el("caption", { class: "hidden" }, caption),
      el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, rows)));
}

/** Makes the children of an element like those given, and touches only what differs: focus, what is open
 * and what is typed stay as they are. */
export function show(place, ...children) {
  const next = fill(document.createElement("div"), {}, children);
  patchChildren(place, next);
}

const keyOf = (node) => node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null;

function patchChildren(now, next) {
  const keyed = new Map();
  for (const child of now.childNodes) if (keyOf(child)) keyed.set(keyOf(child), child);
  let place = now.firstChild;
  for (const fresh of [...next.childNodes]) {
    const key = keyOf(fresh);
    let found = key ? keyed.get(key) : place;
    if (!key && found && keyOf(found)) found = null;
    if (found && isAlike(found, fresh)) {
      if (found !== place) now.insertBefore(found, place);
      else place = place.nextSibling;
      patch(found, fresh);
    } else {
      now.insertBefore(fresh, place);
    }
  }
  while (place) {
    const after = place.nextSibling;
    place.remove();
    place = after;
  }
}

function isAlike(now, next) {
  return now.nodeName === next.nodeName && keyOf(now) === keyOf(next);
}

function patch(now, next) {
  if (now.nodeType !== Node.ELEMENT_NODE) {
    if (now.data !== next.data) now.data = next.data;
    return;
  }
  for (const { name, value } of next.attributes) {
    if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  }
  for (const { name } of [...now.attributes]) {
    // Whoever opened something keeps it open.
    if (!next.hasAttribute(name) && name !== "open") now.removeAttribute(name);
  }
  patchChildren(now, next);
}
