// Numbers for people: the unit that reads best, three digits, never more than a measurement carries.

export const MISSING = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

function three(value) {
  const size = Math.abs(value);
  if (size !== 0 && size < 0.095) return value.toPrecision(2);
  return size < 9.995 ? trim(value.toFixed(2)) : size < 99.95 ? trim(value.toFixed(1)) : whole.format(value);
}
const trim = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);

function scaled(value, unit, names) {
  let size = Math.abs(value), index = 0;
  while (size >= 999.5 && index < names.length - 1) { size /= 1000; value /= 1000; index += 1; }
  return [three(value), names[index] + unit];
}

function seconds(value) {
  const size = Math.abs(value);
  if (size === 0) return ["0", "ms"];
  if (size < 0.0095) return [(value * 1e3).toFixed(1), "ms"];
  if (size < 0.9995) return [(value * 1e3).toFixed(0), "ms"];
  return [size < 9.995 ? value.toFixed(2) : size < 99.95 ? value.toFixed(1) : whole.format(value), "s"];
}

function share(value) {
  const percent = 100 * value;
  return [percent === 0 || Math.abs(percent) >= 10 ? percent.toFixed(percent >= 99 && percent < 100 ? 1 : 0)
    : percent.toFixed(Math.abs(percent) < 1 ? 2 : 1), "%"];
}

const UNITS = {
  count: (value) => [three(value), ""],
  per_second: (value) => [three(value), "/s"],
  seconds,
  share,
  bytes: (value) => scaled(value, "B", ["", "k", "M", "G", "T"]),
  watts: (value) => [whole.format(value), "W"],
  celsius: (value) => [whole.format(value), "°C"],
  hertz: (value) => scaled(value, "Hz", ["", "k", "M", "G"]),
};

// Return [number, unit] of a value.
export const parts = (value, unit) => (value === null || value === undefined ? [MISSING, ""] : UNITS[unit](value));

export function format(value, unit) {
  const [number, name] = parts(value, unit);
  return name === "" || name === "%" || name === "/s" ? number + name : `${number} ${name}`;
}

// Label an axis: the same units, but no digits beyond what tells two ticks apart.
export function tick(value, unit) {
  if (unit === "share") return `${trim((100 * value).toFixed(1))}%`;
  if (unit === "seconds") return value === 0 ? "0" : value < 1 ? `${trim((value * 1e3).toPrecision(3))} ms` : `${trim(value.toPrecision(3))} s`;
  if (unit === "bytes" || unit === "hertz") return value === 0 ? "0" : format(value, unit);
  return Math.abs(value) >= 10000 ? `${trim((value / 1000).toPrecision(3))}k` : trim(value.toPrecision(4));
}

const pad = (number) => String(number).padStart(2, "0");

export function clock(time, withSeconds = true) {
  const date = new Date(time * 1000);
  const minutes = `${pad(date.getHours())}:${pad(date.getMinutes())}`;
  return withSeconds ? `${minutes}:${pad(date.getSeconds())}` : minutes;
}

export function day(time) {
  return new Date(time * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short" });
}

export function span(value) {
  for (const [length, name] of [[86400, "day"], [3600, "hour"], [60, "min"]]) {
    if (value >= length) {
      const count = Math.round((value / length) * 10) / 10;
      return name === "min" ? `${count} min` : `${count} ${name}${count === 1 ? "" : "s"}`;
    }
  }
  return `${Math.round(value * 10) / 10} s`;
}
