/** Instances of classes, functions, and what stands for the outside: nothing of it travels. */
import { Battery } from "./sample.ts";

const battery = new Battery();
const { refused } = battery;

// ---- regular expressions, errors, functions ----

for (const value of [/x/, /foo/dgimsuy, /[\p{L}--[a-z]]/v, new RegExp("\n"), /(?<year>\d+)/])
  refused(`the regular expression ${value.source.slice(0, 20)}`, () => value);
refused("a regular expression that has got on", () => Object.assign(/x/g, { lastIndex: 3 }));
for (const type of [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError])
  refused(`an instance of ${type.name}`, () => new type("message"));
refused("an error with a cause", () => new Error("a", { cause: new Error("b") }));
refused("an AggregateError", () => new AggregateError([new Error("a")], "m"));
refused("an error of a class of one's own", () => new (class Bad extends Error {})("m"));
refused("a DOMException", () => new DOMException("m", "AbortError"));
refused("an error that looks plain", () => Object.setPrototypeOf(new Error("m"), Object.prototype));
refused("a function", () => function named() {});
refused("an arrow function", () => () => 1);
refused("an asynchronous function", () => async () => {});
refused("a generator function", () => function* () {});
refused("a class", () => class {});
refused("a built-in function", () => Math.max);
refused("a bound function", () => (() => 1).bind(null));
refused("a proxy of a function", () => new Proxy(() => 1, {}));
refused("a method", () => ({ run() {} }), "/run");

// ---- what stands for work, for other memory or for the outside ----

const outside: Record<string, () => unknown> = {
  "a promise": () => new Promise(() => {}),
  "a settled promise": () => Promise.resolve(1),
  "a WeakMap": () => new WeakMap(),
  "a WeakSet": () => new WeakSet(),
  "a WeakRef": () => new WeakRef({}),
  "a FinalizationRegistry": () => new FinalizationRegistry(() => {}),
  "a generator": () => (function* () {})(),
  "an asynchronous generator": () => (async function* () {})(),
  "an array iterator": () => [1].values(),
  "a map iterator": () => new Map().entries(),
  "a set iterator": () => new Set().values(),
  "a string iterator": () => "x"[Symbol.iterator](),
  "an iterator helper": () => [1].values().map((x) => x),
  "a proxy that was revoked": () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  },
  "an AbortController": () => new AbortController(),
  "an AbortSignal": () => AbortSignal.abort(),
  "a Blob": () => new Blob(["x"]),
  "a File": () => new File(["x"], "x.txt"),
  "a URL": () => new URL("http://localhost/"),
  URLSearchParams: () => new URLSearchParams("a=1"),
  Headers: () => new Headers({ a: "1" }),
  "a Request": () => new Request("http://localhost/"),
  "a Response": () => new Response("x"),
  FormData: () => new FormData(),
  "an Event": () => new Event("x"),
  "an EventTarget": () => new EventTarget(),
  "a ReadableStream": () => new ReadableStream(),
  "a TransformStream": () => new TransformStream(),
  "a TextEncoder": () => new TextEncoder(),
  "a TextDecoder": () => new TextDecoder(),
  "a MessageChannel": () => new MessageChannel(),
  "an Intl.NumberFormat": () => new Intl.NumberFormat(),
  "an Intl.Collator": () => new Intl.Collator(),
  "an Intl.Locale": () => new Intl.Locale("de"),
  "a WebAssembly.Module": () =>
    new WebAssembly.Module(new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0])),
  "a WebAssembly.Memory": () => new WebAssembly.Memory({ initial: 1 }),
  "the console": () => console,
  "the global object": () => globalThis,
  Math: () => Math,
  JSON: () => JSON,
  Reflect: () => Reflect,
  Atomics: () => Atomics,
  "Intl itself": () => Intl,
  "the prototype of objects": () => Object.prototype,
  "the prototype of arrays": () => Array.prototype,
  "the prototype of a class": () => class {}.prototype,
};
for (const [name, make] of Object.entries(outside))
  battery.push({ name, make, refused: "anywhere" });

export const INSTANCES = battery.samples;
