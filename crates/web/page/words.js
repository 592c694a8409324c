// Figures in words.

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

/** A length of time, in its two largest units. */
export function span(seconds) {
  if (seconds < 1) return `${Math.max(0, Math.round(seconds * 1000))} ms`;
  if (seconds < 10 && seconds % 1) return `${seconds.toFixed(1)} s`;
  let rest = Math.round(seconds);
  const parts = [];
  for (const [size, unit] of UNITS) {
    if (rest >= size) parts.push(`${Math.floor(rest / size)} ${unit}`);
    rest %= size;
    if (parts.length === 2 || (parts.length && size === 86400 && !rest)) break;
  }
  return parts.join(" ");
}

export function ms(value) {
  if (value == null) return "–";
  return `${value < 1 ? value.toFixed(2) : value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

export function percent(part) {
  if (part == null) return "–";
  const value = part * 100;
  return `${value && value < 10 ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)} %`;
}

function scaled(value, units, step) {
  let unit = 0;
  while (Math.abs(value) >= step && unit < units.length - 1) {
    value /= step;
    unit += 1;
  }
  return `${Math.abs(value) < 10 && unit ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)} ${units[unit]}`;
}

export const bytes = (value) => scaled(value, ["B", "kB", "MB", "GB", "TB"], 1000);
export const bits = (value) => scaled(value, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"], 1000);

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** A time of the day, with the date where that is another one. */
export function at(unix) {
  const time = new Date(unix * 1000);
  const isToday = time.toDateString() === new Date().toDateString();
  return isToday ? clock.format(time) : `${date.format(time)}, ${clock.format(time)}`;
}

export const family = (word) => ({ ipv4: "IPv4", ipv6: "IPv6" })[word] ?? word;

/** How many of something. */
export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
