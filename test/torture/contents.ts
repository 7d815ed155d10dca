/** Contents that follow from a call's identity, made and checked on both sides. */

/** Fills bytes with what belongs to `id`. */
export function fillFrom(id: number, bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const { length } = bytes;
  const words = new Uint32Array((length + 3) >>> 2);
  let state = (Math.imul(id, 0x9e3779b1) ^ length) >>> 0;
  for (let i = 0; i < words.length; i++)
    words[i] = state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  bytes.set(new Uint8Array(words.buffer, 0, length));
  return bytes;
}

/** A value of many kinds of parts, of roughly so many bytes. */
export function nestedFrom(id: number, bytes: number): unknown {
  const text = `value ${id} ${"ü€😀".repeat(id % 7)}`;
  return {
    id,
    text,
    big: BigInt(id) << 33n,
    when: new Date(1_700_000_000_000 + id),
    map: new Map<unknown, unknown>([
      [id, text],
      [text, { deep: [id, null, undefined, -0, Number.NaN] }],
    ]),
    set: new Set([id, id + 1]),
    list: Array.from({ length: Math.min(2000, bytes >>> 5) }, (_, i) =>
      i % 3 ? id + i : `${id}.${i}`,
    ),
    numbers: new Float64Array([id, -id, 0.1 * id]),
  };
}
