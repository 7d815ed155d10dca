/** Counts which calls have come: each has a number of its own, so one that came twice is seen. */
type Bytes = Uint8Array<ArrayBuffer>;

const seen = new Uint8Array(1 << 20);
let calls = 0;
let doubled = 0;

/** The input begins with the call's number; the output is the input, each byte changed by its lowest bit. */
export function tally(input: Bytes, output: Bytes): number {
  const number = new DataView(input.buffer, input.byteOffset).getUint32(0, true);
  if (seen[number]! > 0) doubled++;
  seen[number] = 1;
  calls++;
  for (let i = 0; i < input.length; i++) output[i] = input[i]! ^ 1;
  return input.length;
}

/** How many calls have come, and how many of them not for the first time. */
export function tallied(_: Bytes, output: Bytes): number {
  const words = new DataView(output.buffer, output.byteOffset);
  words.setUint32(0, calls, true);
  words.setUint32(4, doubled, true);
  return 8;
}
