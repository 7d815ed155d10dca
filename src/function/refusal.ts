/** A value that cannot travel or does not validate, before it is known whose value it is. */

/** `path` is a JSON pointer: `""` for the value itself, `/weights/3` for a part of it. */
export class Refusal extends Error {
  readonly path: string;
  constructor(path: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.path = path;
  }
}

/** A JSON pointer (RFC 6901) from its parts: names, numbers, symbols, whatever a map has as keys. */
export function pointer(parts: readonly unknown[]): string {
  return parts
    .map((part) => `/${textOf(part).replaceAll("~", "~0").replaceAll("/", "~1")}`)
    .join("");
}

function textOf(part: unknown): string {
  try {
    return String(part);
  } catch {
    return typeof part;
  }
}
