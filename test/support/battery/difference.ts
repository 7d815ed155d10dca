/**
 * Whether two values are the same, as strictly as it can be seen from outside: types, prototypes, bits, order, own properties of
 * every kind. Only an object without a prototype counts as a plain one.
 */
import { types } from "node:util";

const MANY = 10_000;

/** Where and how they differ; undefined when they do not. */
export function difference(a: unknown, b: unknown, path = ""): string | undefined {
  if (Object.is(a, b)) return undefined;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null)
    return `${path || "/"}: ${show(a)} became ${show(b)}`;
  const [from, to] = [kindOf(a), kindOf(b)];
  if (from !== to) return `${path || "/"}: ${from} became ${to}`;
  return differentContent(a, b, path) ?? differentProperties(a, b, path);
}

function differentContent(a: object, b: object, path: string): string | undefined {
  if (ArrayBuffer.isView(a) && ArrayBuffer.isView(b))
    return (
      differentBytes(bytesOf(a), bytesOf(b), path) ?? differentBuffers(a.buffer, b.buffer, path)
    );
  if (types.isAnyArrayBuffer(a) && types.isAnyArrayBuffer(b))
    return (
      differentBytes(new Uint8Array(a), new Uint8Array(b), path) ?? differentBuffers(a, b, path)
    );
  if (types.isDate(a) && types.isDate(b))
    return difference(a.getTime(), b.getTime(), `${path}/time`);
  if (types.isMap(a) && types.isMap(b))
    return (
      differentItems([...a.keys()], [...b.keys()], `${path}/keys`) ??
      differentItems([...a.values()], [...b.values()], `${path}/values`)
    );
  if (types.isSet(a) && types.isSet(b)) return differentItems([...a], [...b], `${path}/items`);
  return undefined;
}

function differentProperties(a: object, b: object, path: string): string | undefined {
  const [before, after] = [namesOf(a), namesOf(b)];
  if (before.length !== after.length || before.some((name, i) => name !== after[i]))
    return `${path || "/"}: properties ${before.map(String)} became ${after.map(String)}`;
  if (Array.isArray(a) && Array.isArray(b) && a.length > MANY) return differentItems(a, b, path);
  for (const name of before) {
    const [x, y] = [a, b].map((object) => Object.prototype.propertyIsEnumerable.call(object, name));
    if (x !== y) return `${path}/${String(name)}: not enumerable alike`;
    const different = difference(
      (a as Record<PropertyKey, unknown>)[name],
      (b as Record<PropertyKey, unknown>)[name],
      `${path}/${String(name)}`,
    );
    if (different) return different;
  }
  return undefined;
}

function differentItems(a: unknown[], b: unknown[], path: string): string | undefined {
  if (a.length !== b.length) return `${path || "/"}: ${a.length} items became ${b.length}`;
  for (let i = 0; i < a.length; i++) {
    const different = difference(a[i], b[i], `${path}/${i}`);
    if (different) return different;
  }
  return undefined;
}

/** Elements of views are compared as bytes. Of very many elements the names are not looked at. */
function namesOf(value: object): (string | symbol)[] {
  const elements = ArrayBuffer.isView(value)
    ? value.byteLength
    : Array.isArray(value)
      ? value.length
      : 0;
  if (elements > MANY) return Object.getOwnPropertySymbols(value);
  const names = Reflect.ownKeys(value);
  return ArrayBuffer.isView(value)
    ? names.filter((name) => typeof name === "symbol" || !/^\d+$/.test(name))
    : names;
}

function kindOf(value: object): string {
  const prototype: unknown = Object.getPrototypeOf(value);
  const name =
    prototype === null
      ? "Object"
      : String((prototype as { constructor?: { name?: unknown } }).constructor?.name);
  const inner = Array.isArray(value)
    ? "array"
    : types.isMap(value)
      ? "map"
      : types.isSet(value)
        ? "set"
        : types.isDate(value)
          ? "date"
          : types.isAnyArrayBuffer(value)
            ? "buffer"
            : ArrayBuffer.isView(value)
              ? "view"
              : Object.prototype.toString.call(value);
  return `${inner} of ${name}`;
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function differentBytes(a: Uint8Array, b: Uint8Array, path: string): string | undefined {
  return Buffer.compare(a, b) === 0 ? undefined : `${path || "/"}: other bytes`;
}

function differentBuffers(
  a: ArrayBufferLike,
  b: ArrayBufferLike,
  path: string,
): string | undefined {
  const traits = (buffer: ArrayBufferLike) =>
    types.isArrayBuffer(buffer) ? (buffer.resizable ? "resizable" : "fixed") : "shared";
  return traits(a) === traits(b) ? undefined : `${path || "/"}: ${traits(a)} became ${traits(b)}`;
}

function show(value: unknown): string {
  return typeof value === "object" && value !== null
    ? "an object"
    : Bun.inspect(value).slice(0, 60);
}
