/** Turns any value that a function threw into data that fits an error record and tells the function's author what went wrong. */
import { LAYOUT } from "../../../ffi/layout.ts";
import { compiled } from "../../base/program/compiled.ts";
import { InvalidValue } from "../../base/errors.ts";
import { describeBuildError } from "../../package/bundle/build-error.ts";
import { type ErrorRecord, MAX_CAUSES } from "../../base/error/record.ts";
import { denialOf } from "./denied.ts";
import { detailsOf } from "./error-details.ts";
import { ResultKept } from "./kept-results.ts";
import { withPackagePaths } from "./package-paths.ts";

/** Longer texts are cut: an error is for reading, and a control message has its bounds. */
const MAX_TEXT = 16 * 1024;
/** An error, its causes and all others that hang on it: they may be many, and go round in circles. */
const MAX_RECORDS = 16;

/** The parts of a thrown value that travel. A value that is no Error is shown as it would be printed. Never throws. */
export function toErrorRecord(thrown: unknown): ErrorRecord {
  return readable(thrown, MAX_CAUSES, { records: MAX_RECORDS });
}

function readable(thrown: unknown, depth: number, left: { records: number }): ErrorRecord {
  left.records--;
  try {
    return describe(thrown, depth, left);
  } catch (failure) {
    return unread(failure);
  }
}

/** A worker that has no memory left cannot even read the error that says so. */
function unread(failure: unknown): ErrorRecord {
  const message = "an error that cannot be read was thrown";
  try {
    if (failure instanceof RangeError && failure.message.includes("memory"))
      return { name: "RangeError", message: `${message}: the worker has no memory left` };
  } catch {
    // Of a failure that a program has made nothing needs to be readable.
  }
  return { name: "NonErrorThrown", message };
}

function describe(thrown: unknown, depth: number, left: { records: number }): ErrorRecord {
  const further = (error: unknown): ErrorRecord | undefined =>
    depth > 0 && left.records > 0 ? readable(error, depth - 1, left) : undefined;
  if (!(thrown instanceof Error)) {
    return {
      name: "NonErrorThrown",
      message: `a value that is not an Error was thrown: ${inspect(thrown)}`,
      ...(typeof thrown === "object" && thrown !== null
        ? { ...codeOf(thrown), ...partsOf(thrown, further) }
        : {}),
    };
  }
  const { retryable, cause } = thrown as { [Property in keyof ErrorRecord]?: unknown };
  const record: ErrorRecord = {
    name: cut(textOf(thrown.name), 100),
    ...withDenial(thrown, cut(withPackagePaths(textOf(thrown.message)), MAX_TEXT)),
    ...(typeof thrown.stack === "string"
      ? { stack: cut(withPackagePaths(withoutOwnFrames(thrown.stack)), MAX_TEXT) }
      : {}),
    ...(retryable === true ? { retryable } : {}),
  };
  const told = cause === undefined ? undefined : further(cause);
  if (told !== undefined) record.cause = told;
  const own = ownFields(thrown);
  return { ...record, ...(own ?? partsOf(thrown, further)) };
}

function withDenial(thrown: Error, message: string): Pick<ErrorRecord, "message" | "code"> {
  const denial = denialOf(thrown);
  if (denial === undefined) return { message, ...codeOf(thrown) };
  return { message: `${message}; ${denial}`, code: "RFAAS_NOT_ALLOWED" };
}

/** The thrower's objects are printed rather than asked for their text: they may do anything. */
function textOf(value: unknown): string {
  return typeof value === "string" ? value : inspect(value);
}

function codeOf(thrown: object): Pick<ErrorRecord, "code"> {
  const { code } = thrown as { code?: unknown };
  if (typeof code === "string") return { code: cut(code, 100) };
  return typeof code === "number" && Number.isFinite(code) ? { code } : {};
}

/** The errors that an error refers to besides its cause. */
function partsOf(
  thrown: object,
  further: (error: unknown) => ErrorRecord | undefined,
): Pick<ErrorRecord, "errors" | "held" | "own"> {
  const { own, held, errors } = detailsOf(thrown);
  const gathered = errors.map(further).filter((record) => record !== undefined);
  const named: Record<string, ErrorRecord> = {};
  for (const [name, error] of Object.entries(held)) {
    const record = further(error);
    if (record !== undefined) named[name] = record;
  }
  return {
    ...(gathered.length > 0 ? { errors: gathered } : {}),
    ...(Object.keys(named).length > 0 ? { held: named } : {}),
    ...(Object.keys(own).length > 0 ? { own } : {}),
  };
}

/** The data fields of our own errors. */
function ownFields(thrown: Error): Partial<ErrorRecord> | undefined {
  if (thrown instanceof ResultKept) return { kept: { ticket: thrown.ticket, bytes: thrown.bytes } };
  if (!(thrown instanceof InvalidValue)) return undefined;
  const { functionName, side, path, problem } = thrown;
  return { invalid: { functionName, side, path, problem } };
}

/** Where our own code lies: in the executable, in the checkout, or in the folder of a package that was built of it. */
const OWN_CODE = compiled
  ? "/$bunfs/root/"
  : Bun.fileURLToPath(
      new URL(import.meta.file === "error-record.ts" ? "../../" : "./", import.meta.url),
    );

/** The author of a function does not care which of our lines called it. */
function withoutOwnFrames(stack: string): string {
  return stack
    .split("\n")
    .filter((line) => !line.includes(OWN_CODE))
    .join("\n");
}

/** What the compiler or the loader said, with file, line and the line's text where it knows them. */
export function toLoadErrorRecord(thrown: unknown): ErrorRecord {
  const errors =
    thrown instanceof AggregateError && thrown.errors.length > 0 ? thrown.errors : [thrown];
  const record = toErrorRecord(errors[0]);
  return {
    ...record,
    message: cut(
      withPackagePaths(errors.slice(0, 10).map(describeBuildError).join("\n")),
      MAX_TEXT,
    ),
  };
}

function inspect(value: unknown): string {
  try {
    return Bun.inspect(value).slice(0, 500);
  } catch {
    return typeof value;
  }
}

/** A function on memory returned something else than how much of its output it has written. */
export function wrongResult(name: string, capacity: number, result: unknown): Error {
  const said =
    typeof result === "number" && result > capacity
      ? `says that it wrote ${result} bytes but its output holds ${capacity}; pass a larger output`
      : `returned ${inspect(result).slice(0, 100)}; return the number of bytes written, from 0 to ${capacity}`;
  return Object.assign(new RangeError(`function "${name}" ${said}`), {
    code: "RFAAS_WRONG_RESULT",
  });
}

/**
 * Writes the record into its place in shared memory. Returns its length. What is too long loses the stacks of the errors that hang
 * on it first, then those errors, its own stack, then text.
 */
export function writeErrorRecord(records: Uint8Array, slot: number, record: ErrorRecord): number {
  const bytes = fittingBytes(record);
  records.set(bytes, slot * LAYOUT.errorBytes);
  return bytes.length;
}

function fittingBytes(record: ErrorRecord): Uint8Array {
  const shorter = [record, withParts(record, bare), withParts(record, alone)];
  // The path of an invalid value says more than a stack; the client composes the message again.
  if (record.invalid !== undefined) shorter.push({ ...alone(record), message: "" });
  for (const candidate of shorter) {
    const bytes = encode(candidate);
    if (bytes.length <= LAYOUT.errorBytes) return bytes;
  }
  const { message, stack = "" } = record;
  const rest = essence(record);
  for (let length = stack.length >> 1; length > 0; length >>= 1) {
    const bytes = encode({ ...rest, message, stack: cut(stack, length) });
    if (bytes.length <= LAYOUT.errorBytes) return bytes;
  }
  for (let length = message.length; length > 0; length >>= 1) {
    const shorter = stack === "" ? {} : { stack: cut(stack, length >> 1) };
    const bytes = encode({ ...rest, message: cut(message, length), ...shorter });
    if (bytes.length <= LAYOUT.errorBytes) return bytes;
  }
  return encode({ name: "Error", message: "the error is too long to be told" });
}

/** What is kept of a long record besides message and stack: as much as takes half of the room. */
function essence(record: ErrorRecord): ErrorRecord {
  const { name, code, retryable, invalid, own } = record;
  const least: ErrorRecord = {
    ...briefly({ name, message: "", ...(code === undefined ? {} : { code }) }),
    ...(retryable === undefined ? {} : { retryable }),
    ...(invalid === undefined ? {} : { invalid: shortened(invalid) }),
  };
  const brief = withParts(record, briefly);
  const { cause, errors, held } = brief;
  const kept = { ...least };
  for (const part of [
    cause === undefined ? {} : { cause },
    own === undefined ? {} : { own },
    errors === undefined ? {} : { errors },
    errors === undefined ? {} : { errors: errors.slice(0, 2) },
    held === undefined ? {} : { held },
  ])
    if (encode({ ...part, ...kept }).length <= LAYOUT.errorBytes / 2)
      Object.assign(kept, { ...part, ...kept });
  return kept;
}

/** The record with each error that hangs on it replaced. */
function withParts(record: ErrorRecord, change: (part: ErrorRecord) => ErrorRecord): ErrorRecord {
  const { cause, errors, held, ...rest } = record;
  return {
    ...rest,
    ...(cause === undefined ? {} : { cause: change(cause) }),
    ...(errors === undefined ? {} : { errors: errors.map(change) }),
    ...(held === undefined
      ? {}
      : {
          held: Object.fromEntries(
            Object.entries(held).map(([name, part]) => [name, change(part)]),
          ),
        }),
  };
}

/** Without a stack, as are all that hang on it. */
function bare({ stack: _, ...record }: ErrorRecord): ErrorRecord {
  return withParts(record, bare);
}

/** Without a stack and without what hangs on it. */
function alone({
  stack: _,
  cause: __,
  errors: ___,
  held: ____,
  ...record
}: ErrorRecord): ErrorRecord {
  return record;
}

/** An error when there is hardly room for the one that it hangs on. */
function briefly({ name, message, code }: ErrorRecord): ErrorRecord {
  return {
    name: cut(name, 100),
    message: cut(message, 200),
    ...(code === undefined ? {} : { code: typeof code === "string" ? cut(code, 100) : code }),
  };
}

type Invalid = NonNullable<ErrorRecord["invalid"]>;

function shortened(invalid: Invalid): Invalid {
  const { functionName, side, path, problem } = invalid;
  return {
    functionName: cut(functionName, 100),
    side,
    path: cut(path, 200),
    problem: cut(problem, 200),
  };
}

/** JSON: a worker loads nothing that it does not need for its first call. */
function encode(record: ErrorRecord): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(record));
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length)}…`;
}
