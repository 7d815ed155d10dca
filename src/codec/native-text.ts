/** What buffers have for text and their types do not name: neither makes a view of the bytes, which would take longer than the text. */

interface NativeText {
  /** Characters below 256, one a byte. */
  latin1Slice(this: Uint8Array, start: number, end: number): string;
  /** Returns how many bytes are written; characters for which there is no room are left out. */
  utf8Write(this: Uint8Array, text: string, offset: number, length: number): number;
}

export const { latin1Slice, utf8Write } = Buffer.prototype as unknown as NativeText;
