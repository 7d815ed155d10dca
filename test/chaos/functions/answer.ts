/** What a function answers to a call: it follows from who calls, so that a wrong one is known. */
export function answerTo(client: number, call: number): number {
  return (Math.imul(client, 0x9e3779b1) ^ Math.imul(call + 1, 0x85ebca6b)) >>> 0;
}
