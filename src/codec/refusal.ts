/** A value that cannot travel or does not validate, before it is known whose value it is. */

/** Longer parts of a path would not be read. */
const MAX_PART = 256;

/** `path` is a JSON pointer: `""` for the value itself, `/weights/3` for a part of it. */
export class Refusal extends Error {
  readonly path: string;
  constructor(path: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.path = path;
  }
}

/** The value takes more bytes than there may be; `path` is the part that was one too many, `bytes` what it takes up to there. */
export class TooLarge extends Refusal {
  readonly bytes: number;
  constructor(path: string, message: string, bytes: number) {
    super(path, message);
    this.bytes = bytes;
  }
}

/** A JSON pointer (RFC 6901) from its parts: names, numbers, symbols, whatever a map has as keys. Long parts are cut. */
export function pointer(parts: readonly unknown[]): string {
  return parts
    .map((part) => `/${textOf(part).replaceAll("~", "~0").replaceAll("/", "~1")}`)
    .join("");
}

function textOf(part: unknown): string {
  try {
    const text = String(part);
    return text.length > MAX_PART ? `${text.slice(0, MAX_PART)}…` : text;
  } catch {
    return typeof part;
  }
}

/** What reading a value has thrown, which may be anything. */
export function messageOf(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message : thrown).slice(0, 1000);
  } catch {
    return "something that cannot be read was thrown";
  }
}
