/** Modules whose functions give what an expression is. */

/** A module with a function `value` that returns it, and `say` that writes it as JSON. */
export const gives = (expression: string): string => `
export const value = async () => (${expression});
export async function say(_: Uint8Array, output: Uint8Array): Promise<number> {
  const text = JSON.stringify(await value(), (_, v) => (v === undefined ? "undefined" : v));
  return new TextEncoder().encodeInto(text, output).written;
}
`;
