/** Turns whatever a function threw into data that fits an error record and says what its author needs. */
import { LAYOUT } from "../../ffi/layout.ts";
import type { ErrorRecord } from "../protocol/messages.ts";

/** The parts of a thrown value that travel. A value that is no Error is shown as it would be printed. */
export function toErrorRecord(thrown: unknown): ErrorRecord {
  if (!(thrown instanceof Error)) {
    return {
      name: "NonErrorThrown",
      message: `a value that is not an Error was thrown: ${inspect(thrown)}`,
    };
  }
  const { code } = thrown as { code?: unknown };
  return {
    name: String(thrown.name),
    message: String(thrown.message),
    ...(typeof code === "string" ? { code } : {}),
    ...(typeof thrown.stack === "string" ? { stack: withoutOwnFrames(thrown.stack) } : {}),
  };
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
  return { ...record, message: errors.slice(0, 10).map(describeLoadError).join("\n") };
}

interface Position {
  file: string;
  line: number;
  column: number;
  lineText: string;
}

function describeLoadError(error: unknown): string {
  const message =
    error instanceof Error || hasMessage(error) ? String(error.message) : inspect(error);
  const position = (error as { position?: Position | null } | null)?.position;
  if (!position?.file) return message;
  const pointer = `${" ".repeat(Math.max(0, position.column - 1))}^`;
  return `${position.file}:${position.line}:${position.column}: ${message}\n    ${position.lineText}\n    ${pointer}`;
}

function hasMessage(value: unknown): value is { message: unknown } {
  return typeof value === "object" && value !== null && "message" in value;
}

function inspect(value: unknown): string {
  try {
    return Bun.inspect(value).slice(0, 500);
  } catch {
    return typeof value;
  }
}

/** Writes the record into its place in shared memory. Returns its length; a record that is too long loses its stack's tail first. */
export function writeErrorRecord(records: Uint8Array, slot: number, record: ErrorRecord): number {
  let fitting = { ...record };
  let bytes = encode(fitting);
  for (let budget = LAYOUT.errorBytes / 2; bytes.length > LAYOUT.errorBytes; budget /= 2) {
    fitting = {
      name: fitting.name.slice(0, 100),
      message: cut(fitting.message, budget),
      ...(fitting.code === undefined ? {} : { code: fitting.code.slice(0, 100) }),
      ...(fitting.stack === undefined ? {} : { stack: cut(fitting.stack, budget / 2) }),
    };
    bytes = encode(fitting);
  }
  records.set(bytes, slot * LAYOUT.errorBytes);
  return bytes.length;
}

/** JSON: a worker loads nothing that it does not need for its first call. */
function encode(record: ErrorRecord): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(record));
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length)}…`;
}
