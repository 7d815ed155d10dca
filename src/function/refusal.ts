/** A value that cannot travel or does not validate, before it is known whose value it is. */

/** `path` is a JSON pointer: `""` for the value itself, `/weights/3` for a part of it. */
export class Refusal extends Error {
  readonly path: string;
  constructor(path: string, message: string) {
    super(message);
    this.path = path;
  }
}

/** A JSON pointer (RFC 6901) from its parts. */
export function pointer(parts: readonly unknown[]): string {
  return parts
    .map((part) => `/${String(part).replaceAll("~", "~0").replaceAll("/", "~1")}`)
    .join("");
}
