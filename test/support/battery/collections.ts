/** Maps and sets, and what changes while it is read. */
import { Battery } from "./sample.ts";

const battery = new Battery();
const { equal, refused } = battery;

// ---- maps and sets ----

equal("an empty map", () => new Map());
equal(
  "a map with keys of every type",
  () =>
    new Map<unknown, unknown>([
      [undefined, 1],
      [null, 2],
      [NaN, 3],
      [0, 4],
      ["", 5],
      [1n, 6],
      [{ a: 1 }, 7],
      [[1], 8],
      [new Date(0), 9],
      [new Map([[1, 1]]), new Set([1])],
      [new Uint8Array(2), 10],
    ]),
);
equal(
  "a map in its order",
  () =>
    new Map([
      ["b", 1],
      ["a", 2],
      ["c", 3],
    ]),
);
for (const length of [15, 16, 70_000])
  equal(`a map of ${length}`, () => new Map(Array.from({ length }, (_, i) => [i, `${i}`])));
equal("a map with __proto__ as a key", () => new Map([["__proto__", 1]]));
equal(
  "keys that look the same",
  () =>
    new Map([
      [{}, 1],
      [{}, 2],
    ]),
);
equal("an empty set", () => new Set());
equal(
  "a set of every type",
  () => new Set([undefined, null, NaN, 0, "", 1n, {}, [], new Set([1])]),
);
equal("a set in its order", () => new Set(["b", "a", "c"]));
for (const length of [15, 16, 70_000])
  equal(`a set of ${length}`, () => new Set(Array.from({ length }, (_, i) => i)));
refused("a map with a property", () => Object.assign(new Map(), { extra: 1 }), "/extra");
refused(
  "a map with a hidden size",
  () => Object.defineProperty(new Map([[1, 1]]), "size", { value: 0 }),
  "/size",
);
refused("a map with a symbol", () => Object.assign(new Map(), { [Symbol("s")]: 1 }), "/Symbol(s)");
refused("a set with a property", () => Object.assign(new Set(), { extra: 1 }), "/extra");
refused("a subclass of maps", () => new (class Registry extends Map {})());
refused("a subclass of sets", () => new (class Bag extends Set {})());
refused("a map that is none", () => Object.create(Map.prototype));
refused("a set that is none", () => Object.setPrototypeOf([], Set.prototype));
refused("a set by the prototype of maps", () => Object.setPrototypeOf(new Set(), Map.prototype));
refused("a map that looks plain", () => Object.setPrototypeOf(new Map([[1, 1]]), Object.prototype));
refused("a set that looks plain", () => Object.setPrototypeOf(new Set([1]), Object.prototype));
refused("a map without a prototype", () => Object.setPrototypeOf(new Map(), null));
refused("a promise that looks plain", () =>
  Object.setPrototypeOf(Promise.resolve(), Object.prototype),
);
refused("a proxy of a map", () => new Proxy(new Map(), {}));
refused(
  "a map in itself",
  () => {
    const map = new Map<string, unknown>();
    return map.set("self", map);
  },
  "/self",
);
refused(
  "a set in itself",
  () => {
    const set = new Set<unknown>([1]);
    return set.add(set);
  },
  "/1",
);
refused("a function in a map", () => new Map([["run", () => 1]]), "/run");
refused("a function in a map with an object as its key", () => new Map([[{}, () => 1]]), "/0");
refused("a function as a key", () => new Map<unknown, unknown>([[() => 1, 1]]), "/0");
refused(
  "a key without a prototype, of what cannot travel",
  () => new Map<unknown, unknown>([[Object.create(null), Symbol("s")]]),
  "/0",
);
refused(
  "a map that grows while it is read",
  () => {
    const map = new Map<number, unknown>();
    const growing = {
      get more() {
        return map.set(map.size, 1).size;
      },
    };
    return map.set(0, growing);
  },
  "/1",
);
refused(
  "an array that grows while it is read",
  () => {
    const array: unknown[] = [
      {
        get more() {
          return array.push(1);
        },
      },
    ];
    return array;
  },
  "/length",
);
refused(
  "an object that loses a property while it is read",
  () => {
    const object: { a?: unknown; b?: number } = {
      get a() {
        delete object.b;
        return 1;
      },
      b: 1,
    };
    return object;
  },
  "/b",
);
refused(
  "an object that gets a property while it is read",
  () => {
    const object: Record<string, unknown> = {
      get a() {
        object["late"] = 1;
        return 1;
      },
    };
    return object;
  },
  "/late",
);

export const COLLECTIONS = battery.samples;
