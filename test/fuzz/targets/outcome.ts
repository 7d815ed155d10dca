/** What a parser may do with an input. */
import { difference } from "../../support/battery/difference.ts";

const decoder = new TextDecoder();

export const textOf = (input: Uint8Array): string => decoder.decode(input);
export const bytesOf = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

/** What `parse` returns; undefined where it throws its own error, whose message ends with what to do. Throws what else it throws. */
export function outcome<T>(
  parse: () => T,
  own: new (...args: never[]) => Error,
  ...others: (new (...args: never[]) => Error)[]
): T | undefined {
  try {
    return parse();
  } catch (error) {
    if ([own, ...others].some((one) => error instanceof one)) return undefined;
    throw error;
  }
}

/** Throws where two values are not the same. */
export function same(a: unknown, b: unknown, what: string): void {
  const where = difference(a, b);
  if (where !== undefined) throw new Error(`${what}: ${where}`);
}

/** Throws unless it is so. */
export function must(so: boolean, what: string): void {
  if (!so) throw new Error(what);
}
