/**
 * Which bytes are plain MessagePack: numbers, texts, bytes, lists and maps. The library that reads messages knows more, without a way
 * to switch it off: a peer could have it make errors, expressions, sets and code for records of its own.
 */

/** Of the heads 0xc0 to 0xdf, how many bytes follow; those that say so themselves are below, and the others are not plain. */
const FIXED: Readonly<Record<number, number>> = {
  ...{ 0xc0: 0, 0xc2: 0, 0xc3: 0, 0xca: 4, 0xcb: 8 },
  ...{ 0xcc: 1, 0xcd: 2, 0xce: 4, 0xcf: 8, 0xd0: 1, 0xd1: 2, 0xd2: 4, 0xd3: 8 },
};
/** Of texts and bytes, and of lists and maps: how many bytes their length takes. */
const SIZED: Readonly<Record<number, number>> = {
  ...{ 0xc4: 1, 0xc5: 2, 0xc6: 4, 0xd9: 1, 0xda: 2, 0xdb: 4 },
};
const LISTED: Readonly<Record<number, number>> = { 0xdc: 2, 0xdd: 4, 0xde: 2, 0xdf: 4 };
const MAP_HEADS = [0xde, 0xdf];
/** An extension of one byte, of type 0: what a property that is undefined is written as. */
const UNDEFINED = 0xd4;

/** Whether `body` is one plain value, whole, and nothing else. */
export function isPlain(body: Uint8Array): boolean {
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const uint = (at: number, bytes: number): number =>
    at + bytes > body.length
      ? Infinity
      : bytes === 1
        ? view.getUint8(at)
        : bytes === 2
          ? view.getUint16(at)
          : view.getUint32(at);
  let at = 0;
  // Each value takes a byte at least, so there are no more of them than bytes.
  for (let values = 1; values > 0; values--) {
    if (values > body.length - at) return false;
    const head = body[at++]!;
    if (head < 0x80 || head >= 0xe0) continue;
    if (head < 0x90) values += 2 * (head & 0x0f);
    else if (head < 0xa0) values += head & 0x0f;
    else if (head < 0xc0) at += head & 0x1f;
    else if (FIXED[head] !== undefined) at += FIXED[head];
    else if (SIZED[head] !== undefined) at += SIZED[head] + uint(at, SIZED[head]);
    else if (LISTED[head] !== undefined) {
      values += uint(at, LISTED[head]) * (MAP_HEADS.includes(head) ? 2 : 1);
      at += LISTED[head];
    } else if (head === UNDEFINED && body[at] === 0) at += 2;
    else return false;
  }
  return at === body.length;
}
