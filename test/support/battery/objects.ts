/** Arrays and plain objects. */
import { createContext, runInContext } from "node:vm";
import { Battery } from "./sample.ts";

const battery = new Battery();
const { equal, refused } = battery;

// ---- arrays ----

const sizes = [0, 1, 15, 16, 17, 255, 256, 65535, 65536];
for (const length of sizes)
  equal(`an array of ${length}`, () => Array.from({ length }, (_, i) => i));
equal("an array of everything", () => [undefined, null, -0, NaN, "x", 1n, [], {}, new Date(0)]);
equal("an array of arrays of nothing", () => [[], [[]], [[[]]]]);
equal("a frozen array", () => Object.freeze([1, 2]));
equal("an array with an index that was set late", () => {
  const array: number[] = [];
  array[1] = 1;
  array[0] = 0;
  return array;
});
equal("an array with a getter", () =>
  Object.defineProperty([1], 0, { get: () => 5, enumerable: true }),
);
equal("an array behind a proxy", () => new Proxy([1, 2], {}));
equal("an array that had a property", () => {
  const array = Object.assign([1, 2], { gone: 1 } as { gone?: number });
  delete array.gone;
  return array;
});
refused("a hole", () => [1, , 3], "/1");
refused("a hole at the end", () => Object.assign([1], { length: 2 }), "/1");
refused("an array of holes", () => new Array(3), "/0");
refused("an array as long as can be", () => new Array(2 ** 32 - 1), "/0");
refused("a hole that the prototype fills", () => Object.setPrototypeOf([, 1], [0]));
refused("a property of an array", () => Object.assign([1, 2], { extra: 3 }), "/extra");
refused("a negative index", () => Object.assign([1], { [-1]: 0 }), "/-1");
refused("an index that is too large", () => Object.assign([1], { 4294967295: 0 }), "/4294967295");
refused("a symbol of an array", () => Object.assign([1], { [Symbol("s")]: 1 }), "/Symbol(s)");
refused(
  "a hidden property of an array",
  () => Object.defineProperty([1], "hidden", { value: 1 }),
  "/hidden",
);
refused(
  "a property of a long array",
  () => Object.assign(new Array(10_000).fill(0), { unit: "m" }),
  "/unit",
);
refused("the match of a regular expression", () => /(?<a>x)/.exec("x"), "/index");
refused(
  "the strings of a template",
  () => ((strings: TemplateStringsArray, ..._: unknown[]) => strings)`a${1}b`,
  "/raw",
);
refused("a subclass of arrays", () => class List extends Array {}.from([1]));
refused("an array that is none", () => Object.create(Array.prototype));
refused("an array-like by its prototype", () =>
  Object.setPrototypeOf({ length: 1, 0: 1 }, Array.prototype),
);
refused("an array that looks plain", () => Object.setPrototypeOf([1], Object.prototype));
refused("an empty array that looks plain", () => Object.setPrototypeOf([], Object.prototype));
refused("an array without a prototype", () => Object.setPrototypeOf([1], null));
refused(
  "arguments",
  () =>
    (function (..._: number[]) {
      return arguments;
    })(1, 2),
  "/length",
);
// ---- objects ----

for (const length of [...sizes.slice(0, 7), 70_000])
  equal(`an object of ${length} properties`, () =>
    Object.fromEntries(Array.from({ length }, (_, i) => [`key ${i}`, i])),
  );
for (const length of [1, 15, 16, 31, 32, 33, 255, 256, 65535, 65536])
  equal(`a name of ${length} characters`, () => ({ ["k".repeat(length)]: 1 }));
equal("names that are numbers", () => ({
  2: "b",
  1: "a",
  "-1": "c",
  "01": "d",
  4294967296: "e",
  "": "f",
}));
equal("names of methods", () => ({
  constructor: 1,
  toString: 2,
  valueOf: 3,
  hasOwnProperty: 4,
  toJSON: 5,
}));
equal("names of accessors", () => ({ __defineGetter__: 1, __lookupSetter__: 2, prototype: 3 }));
equal("names of what a promise has", () => ({ then: 1, catch: "x", finally: null }));
equal("names of a message", () => ({
  type: "Buffer",
  data: [1],
  __type: "Date",
  $ref: "#",
  "@type": 0,
}));
equal("names beyond ASCII", () => ({ é: 1, 漢: 2, "🧮": 3, "\u0000": 4, "\ufeff": 5 }));
equal("properties that are undefined", () => ({ a: undefined, b: { c: undefined } }));
equal("a frozen object", () => Object.freeze({ a: Object.freeze([1]) }));
equal("a sealed object", () => Object.seal({ a: 1 }));
equal("an object that cannot be extended", () => Object.preventExtensions({ a: 1 }));
equal("a property that cannot be written", () =>
  Object.defineProperty({}, "a", { value: 1, enumerable: true }),
);
equal("a getter", () => ({
  get a() {
    return [1];
  },
}));
equal("an object behind a proxy", () => new Proxy({ a: { b: 1 } }, {}));
equal("an object from JSON", () => JSON.parse('{"a":[1,{"b":null}],"c":"d"}'));
equal("an object that was emptied", () => {
  const object = { a: 1 } as { a?: number };
  delete object.a;
  return object;
});
equal("an object without a prototype", () => Object.assign(Object.create(null), { a: 1 }));
equal("an empty object without a prototype", () => Object.create(null));
equal("objects without a prototype within others", () => [
  new Map([["m", Object.create(null)]]),
  { a: Object.assign(Object.create(null), { b: Object.create(null) }) },
]);
equal("groups", () => Object.groupBy([1, 2, 3], (n) => (n % 2 ? "odd" : "even")));
equal("the groups of a match", () => /(?<year>\d+)/.exec("in 1970")!.groups);
equal("the same part in several places", () => {
  const part = { list: [1] };
  return { a: part, b: [part, part], c: new Map([["m", part]]) };
});
equal("a depth of 255", () => nested(255));
battery.push({ name: "a depth of 300", make: () => nested(300), refused: "/0".repeat(256) });
battery.push({
  name: "a depth of 100000",
  make: () => nested(100_000),
  refused: "/0".repeat(256),
});
battery.push({
  name: "a list that is linked 10000 times",
  make: () => {
    let list: unknown = null;
    for (let i = 0; i < 10_000; i++) list = { next: list };
    return list;
  },
  refused: "/next".repeat(256),
});
refused("a property named __proto__", () => JSON.parse('{"__proto__":1}'), "/__proto__");
refused(
  "a property named __proto__ without a prototype",
  () => Object.assign(Object.create(null), { ["__proto__"]: { a: 1 } }),
  "/__proto__",
);
refused("a name with half of a character", () => ({ "\ud83e": 1 }), "/\ud83e");
refused("a property named by a symbol", () => ({ [Symbol("s")]: 1 }), "/Symbol(s)");
refused("a symbol beside names", () => ({ a: 1, [Symbol.for("s")]: 1 }), "/Symbol(s)");
refused("a tag", () => ({ [Symbol.toStringTag]: "Map" }), "/Symbol(Symbol.toStringTag)");
refused(
  "a symbol that is not enumerable",
  () => Object.defineProperty({ a: 1 }, Symbol("s"), { value: 1 }),
  "/Symbol(s)",
);
refused(
  "a property that is not enumerable",
  () => Object.defineProperty({ a: 1 }, "hidden", { value: 1 }),
  "/hidden",
);
refused(
  "a getter that throws",
  () => ({
    get a(): number {
      throw new Error("no");
    },
  }),
  "/a",
);
refused(
  "a getter that throws nothing",
  () => ({
    get a(): number {
      throw undefined;
    },
  }),
  "/a",
);
refused(
  "a proxy that throws",
  () =>
    new Proxy(
      {},
      {
        ownKeys: () => {
          throw new Error("no");
        },
      },
    ),
);
refused(
  "a circle",
  () => {
    const object: Record<string, unknown> = {};
    return Object.assign(object, { self: object });
  },
  "/self",
);
refused(
  "a circle of two",
  () => {
    const a: unknown[] = [];
    a.push({ back: a });
    return a;
  },
  "/0/back",
);
refused(
  "an instance of a class",
  () =>
    new (class Point {
      x = 1;
    })(),
);
refused(
  "an instance of a class with a private field",
  () =>
    new (class Secret {
      #hidden = 1;
      read() {
        return this.#hidden;
      }
    })(),
);
refused("an object with a prototype of its own", () => Object.create({ inherited: 1 }));
refused("an object with a plain object as its prototype", () =>
  Object.assign(Object.create({}), { a: 1 }),
);
refused("an object of another realm", () => runInContext("({ a: 1 })", createContext({})));
refused("an array of another realm", () => runInContext("[1]", createContext({})));
refused("an instance whose constructor throws", () =>
  Object.create({
    get constructor() {
      throw new Error("no");
    },
  }),
);
refused("an instance whose constructor is nameless", () =>
  Object.create({ constructor: { name: 7 } }),
);

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let i = 0; i < depth; i++) value = [value];
  return value;
}

export const OBJECTS = battery.samples;
