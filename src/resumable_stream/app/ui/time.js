/**
 * Times as people say them, in the page's language.
 */

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * "5 minutes ago", "yesterday", "12 Mar": short enough for a list.
 *
 * @param {Date} date
 * @param {Date} [now]
 */
export function relativeTime(date, now = new Date()) {
  const age = now.getTime() - date.getTime();
  if (Number.isNaN(age)) return "";
  if (age < MINUTE) return "just now";
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "long" });
  if (age < HOUR) return words.format(-Math.floor(age / MINUTE), "minute");
  const days = dayOf(now) - dayOf(date);
  if (days === 0 || age < 6 * HOUR) return words.format(-Math.floor(age / HOUR), "hour");
  if (days < 7) return words.format(-days, "day");
  const sameYear = now.getFullYear() === date.getFullYear();
  return new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: sameYear ? undefined : "numeric" }).format(date);
}

/** @param {Date} date */
export function fullTime(date) {
  return Number.isNaN(date.getTime()) ? "" : new Intl.DateTimeFormat("en", { dateStyle: "full", timeStyle: "short" }).format(date);
}

/** @param {Date} date */
const dayOf = (date) => Math.round(new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime() / DAY);
