/** Turns whatever a function threw into data that fits an error record and says what its author needs. */
import { LAYOUT } from "../../ffi/layout.ts";
import { InvalidValue, MAX_CAUSES } from "../errors.ts";
import { describeBuildError } from "../package/build-error.ts";
import type { ErrorRecord } from "../protocol/messages.ts";
import { ResultKept } from "./kept-results.ts";

/** Longer texts are cut: an error is for reading, and a control message has its bounds. */
const MAX_TEXT = 16 * 1024;

/** The parts of a thrown value that travel. A value that is no Error is shown as it would be printed. Never throws. */
export function toErrorRecord(thrown: unknown): ErrorRecord {
  try {
    return describe(thrown);
  } catch {
    return { name: "NonErrorThrown", message: "an error that cannot be read was thrown" };
  }
}

function describe(thrown: unknown, causes = MAX_CAUSES): ErrorRecord {
  if (!(thrown instanceof Error)) {
    return {
      name: "NonErrorThrown",
      message: `a value that is not an Error was thrown: ${inspect(thrown)}`,
    };
  }
  const { code, retryable, cause } = thrown as { [Property in keyof ErrorRecord]?: unknown };
  return {
    name: cut(String(thrown.name), 100),
    message: cut(String(thrown.message), MAX_TEXT),
    ...(typeof code === "string" ? { code: cut(code, 100) } : {}),
    ...(typeof thrown.stack === "string"
      ? { stack: cut(withoutOwnFrames(thrown.stack), MAX_TEXT) }
      : {}),
    ...(retryable === true ? { retryable } : {}),
    ...(cause === undefined || causes === 0 ? {} : { cause: describe(cause, causes - 1) }),
    ...ownFields(thrown),
  };
}

/** What only errors of our own say. */
function ownFields(thrown: Error): Partial<ErrorRecord> {
  if (thrown instanceof ResultKept) return { kept: { ticket: thrown.ticket, bytes: thrown.bytes } };
  if (!(thrown instanceof InvalidValue)) return {};
  const { functionName, side, path, problem } = thrown;
  return { invalid: { functionName, side, path, problem } };
}

/** The author of a function does not care which of our lines called it. */
function withoutOwnFrames(stack: string): string {
  return stack
    .split("\n")
    .filter((line) => !line.includes("/$bunfs/root/") && !line.includes(import.meta.dir))
    .join("\n");
}

/** What the compiler or the loader said, with file, line and the line's text where it knows them. */
export function toLoadErrorRecord(thrown: unknown): ErrorRecord {
  const errors =
    thrown instanceof AggregateError && thrown.errors.length > 0 ? thrown.errors : [thrown];
  const record = toErrorRecord(errors[0]);
  return {
    ...record,
    message: cut(errors.slice(0, 10).map(describeBuildError).join("\n"), MAX_TEXT),
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
 * Writes the record into its place in shared memory. Returns its length. What is too long loses the stacks of its causes first,
 * then their causes, its own stack, then text.
 */
export function writeErrorRecord(records: Uint8Array, slot: number, record: ErrorRecord): number {
  const bytes = fittingBytes(record);
  records.set(bytes, slot * LAYOUT.errorBytes);
  return bytes.length;
}

function fittingBytes(record: ErrorRecord): Uint8Array {
  const whole = encode(record);
  if (whole.length <= LAYOUT.errorBytes) return whole;
  for (const causes of [withoutStacks(record.cause), withoutStacks(record.cause, 0)]) {
    const bytes = encode({ ...record, ...causes });
    if (causes.cause && bytes.length <= LAYOUT.errorBytes) return bytes;
  }
  const { name, message, code, stack = "", retryable } = record;
  const rest = {
    name: cut(name, 100),
    ...(code === undefined ? {} : { code: cut(code, 100) }),
    ...(retryable === undefined ? {} : { retryable }),
    ...(record.invalid === undefined ? {} : { invalid: shortened(record.invalid) }),
    ...(record.cause === undefined ? {} : { cause: briefly(record.cause) }),
  };
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

function withoutStacks(
  cause: ErrorRecord | undefined,
  causes = MAX_CAUSES,
): { cause?: ErrorRecord } {
  if (cause === undefined) return {};
  const { stack: _, cause: next, ...rest } = cause;
  return { cause: { ...rest, ...(causes > 0 ? withoutStacks(next, causes - 1) : {}) } };
}

/** A cause when there is hardly room for its effect. */
function briefly({ name, message, code }: ErrorRecord): ErrorRecord {
  return {
    name: cut(name, 100),
    message: cut(message, 200),
    ...(code === undefined ? {} : { code: cut(code, 100) }),
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
