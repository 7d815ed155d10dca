/**
 * An error's parts besides its name, message, stack and cause: properties that the thrower set, and the errors that it gathers.
 * Bounded, since an error may refer to anything: a request, a connection, the error itself.
 */

/** Characters of JSON, of all properties of an error together. */
const MAX_OWN = 1024;
const MAX_TEXT = 256;
const MAX_ITEMS = 16;
/** Properties that are looked at. */
const MAX_NAMES = 64;
const MAX_DEPTH = 3;
/** Errors that are gathered by one. */
const MAX_ERRORS = 8;
/** Properties that are errors. */
const MAX_HELD = 4;

/** What the record says in fields of their own. */
const TOLD = new Set(["name", "message", "stack", "cause", "retryable"]);
/** Of a `SuppressedError`; not enumerable. */
const SUPPRESSED = ["error", "suppressed"];

export interface ErrorDetails {
  /** Properties as JSON has them. */
  own: Record<string, unknown>;
  /** Errors that are properties, by name. */
  held: Record<string, Error>;
  /** Of an `AggregateError`. */
  errors: unknown[];
}

/** Does not throw, even where reading a property does. */
export function detailsOf(thrown: object): ErrorDetails {
  const own: Record<string, unknown> = {};
  const held: Record<string, Error> = {};
  const errors = attempt(() => gathered(thrown)) ?? [];
  let left = MAX_OWN;
  for (const key of namesOf(thrown)) {
    const value = read(thrown, key);
    if (attempt(() => value instanceof Error)) {
      if (Object.keys(held).length < MAX_HELD) held[key] = value as Error;
      continue;
    }
    if (value === undefined || (key === "errors" && errors.length > 0)) continue;
    if (key === "code" && (typeof value === "string" || typeof value === "number")) continue;
    const json = attempt(() => jsonOf(value, MAX_DEPTH));
    const length = key.length + (JSON.stringify(json)?.length ?? Infinity);
    if (length > left) continue;
    left -= length;
    own[key] = json;
  }
  return { own, held, errors };
}

/** Undefined when it throws: getters and proxies are the thrower's. */
function attempt<Result>(read: () => Result): Result | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

function namesOf(thrown: object): string[] {
  // The names of elements may be millions.
  if (ArrayBuffer.isView(thrown) || attempt(() => Array.isArray(thrown))) return [];
  const all = attempt(() => Object.keys(thrown)) ?? [];
  const told = (name: string) => TOLD.has(name) || name === "__proto__";
  const names = all.filter((name) => !told(name)).slice(0, MAX_NAMES);
  if (read(thrown, "name") === "SuppressedError") names.push(...SUPPRESSED);
  return names;
}

/** A list of errors; an `AggregateError` may have any iterable instead. */
function gathered(thrown: object): unknown[] {
  const errors = read(thrown, "errors");
  if (!Array.isArray(errors)) return [];
  const first = errors.slice(0, MAX_ERRORS);
  const all = thrown instanceof AggregateError || first.every((error) => error instanceof Error);
  return all ? first : [];
}

function read(object: object, key: string): unknown {
  return attempt(() => (object as Record<string, unknown>)[key]);
}

/** As JSON has it, or as it would be printed; undefined for what is neither. */
function jsonOf(value: unknown, depth: number): unknown {
  switch (typeof value) {
    case "string":
      return cut(value);
    case "boolean":
      return value;
    case "number":
      return Number.isFinite(value) ? value : String(value);
    case "bigint":
      return cut(String(value));
    case "object":
      return value === null ? null : objectOf(value, depth);
    default:
      return undefined;
  }
}

function objectOf(value: object, depth: number): unknown {
  if (Array.isArray(value) && depth > 0)
    return value.slice(0, MAX_ITEMS).map((item) => jsonOf(item, depth - 1) ?? null);
  if (!isPlain(value) || depth === 0) return printed(value);
  const object: Record<string, unknown> = {};
  for (const key of Object.keys(value).slice(0, MAX_ITEMS)) {
    const json = key === "__proto__" ? undefined : jsonOf(read(value, key), depth - 1);
    if (json !== undefined) object[cut(key)] = json;
  }
  return object;
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function printed(value: object): string {
  return cut(value instanceof Error ? String(value) : Bun.inspect(value, { depth: 1 }));
}

function cut(text: string): string {
  return text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}…`;
}
