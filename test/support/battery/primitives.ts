/** Primitives, boxed ones, dates. */
import { Battery } from "./sample.ts";

const battery = new Battery();
const { equal, scalar, refused } = battery;

// ---- primitives ----

for (const value of [undefined, null, true, false]) scalar(String(value), () => value);
for (const value of [
  ...[0, -0, 1, -1, 0.2, -0.1, 1 / 3, NaN, Infinity, -Infinity],
  ...[5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, Number.EPSILON, 2 ** 52 + 0.5],
  ...[127, 128, 255, 256, 32767, 32768, 65535, 65536, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32],
  ...[-31, -32, -33, -127, -128, -129, -32768, -32769, -(2 ** 31), -(2 ** 31) - 1],
  ...[2 ** 53 - 1, 2 ** 53, -(2 ** 53), 2 ** 60, 1e21, -1e21, 1e-7],
])
  equal(`the number ${Object.is(value, -0) ? "-0" : value}`, () => value);
for (const value of [0n, 1n, -1n, 5n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 64n - 1n])
  equal(`the bigint ${value}`, () => value);
for (const value of [2n ** 64n, -(2n ** 63n) - 1n, 12345678901234567890123n, 2n ** 5000n])
  refused(
    `the bigint ${String(value).slice(0, 30)} of ${String(value).length} digits`,
    () => value,
  );
for (const length of [
  0, 1, 15, 16, 17, 31, 32, 33, 255, 256, 4095, 4096, 4097, 65535, 65536, 70_000,
])
  for (const [kind, character] of [
    ["ASCII", "a"],
    ["two bytes each", "é"],
    ["three bytes each", "漢"],
  ] as const)
    equal(`text of ${length} characters, ${kind}`, () => character.repeat(length));
for (const [name, text] of Object.entries({
  "outside the basic plane": "🧮𝄞👩‍👩‍👧‍👦",
  "with control characters": "\u0000\u0001\t\n\r\u001f\u007f\u0085\u2028\u2029",
  "with a byte order mark": "\ufeffx\ufeff",
  "with noncharacters": "\uffff\ufffe\ufdd0",
  "with the replacement character": "\ufffd",
  "not normalised": "e\u0301 é ﬁ Å",
  "from right to left": "שלום עולם",
  "that looks like a tag": "</script><!--",
  "that looks like a number": "123",
  "of quotes": "\"'`\\/",
}))
  scalar(`text ${name}`, () => text);
for (const [name, text] of Object.entries({
  "a high surrogate": "\ud83e",
  "a low surrogate": "\udead",
  "surrogates in the wrong order": "\uddee\ud83e",
  "a surrogate at the end": `${"x".repeat(100)}\ud83e`,
}))
  refused(`text with ${name}`, () => text);
refused("a symbol", () => Symbol("s"));
refused("a symbol of the registry", () => Symbol.for("rfaas"));
refused("a well-known symbol", () => Symbol.iterator);

// ---- boxed primitives ----

for (const value of [true, false, 0, -0, NaN, 0x100000000, "", "text", 10n, Symbol("s")])
  refused(`a boxed ${typeof value} ${String(value)}`, () => Object(value));

// ---- dates ----

for (const ms of [0, -0, 1, -1, 999, 1e12 + 1, -1e12 - 1, 8.64e15, -8.64e15, 2 ** 32 * 1000, 1.5e9])
  equal(`the date ${ms}`, () => new Date(ms));
refused("an invalid date", () => new Date(NaN));
refused("a date with a property", () => Object.assign(new Date(0), { zone: "UTC" }), "/zone");
refused(
  "a date with a symbol",
  () => Object.assign(new Date(0), { [Symbol("s")]: 1 }),
  "/Symbol(s)",
);
refused("a subclass of dates", () => new (class Moment extends Date {})(0));
refused("a date that is none", () => Object.create(Date.prototype));
refused("a date by its prototype", () => Object.setPrototypeOf({ a: 1 }, Date.prototype));
refused("a date that looks plain", () => Object.setPrototypeOf(new Date(0), Object.prototype));
refused("a date without a prototype", () => Object.setPrototypeOf(new Date(0), null));

export const PRIMITIVES = battery.samples;
