/** Values of typed functions as JSON: types that JSON lacks are written in the form that people expect. */

/** On one line. Typed arrays and sets become arrays, maps become lists of pairs, dates ISO text, bigints numbers or text. */
export function toJson(value: unknown): string {
  return JSON.stringify(
    value ?? null,
    function (this: Record<string, unknown>, key, part: unknown) {
      const itself = this[key];
      // `Buffer.toJSON` has already replaced the buffer.
      return plain(ArrayBuffer.isView(itself) ? itself : part);
    },
  );
}

function plain(part: unknown): unknown {
  if (typeof part === "bigint") {
    const number = Number(part);
    return Number.isSafeInteger(number) ? number : String(part);
  }
  // JSON would write null, which is another value.
  if (typeof part === "number" && !Number.isFinite(part)) return String(part);
  if (part instanceof ArrayBuffer) return [...new Uint8Array(part)];
  if (part instanceof Map || part instanceof Set) return [...part];
  if (ArrayBuffer.isView(part)) return [...(part as Uint8Array)];
  return part;
}
