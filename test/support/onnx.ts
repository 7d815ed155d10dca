/** A model for ONNX runtimes, written here byte by byte. */

/** `y = x + x` for a vector, as ONNX encodes it. */
export function doublingModel(): Uint8Array {
  const varint = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...varint(n >>> 7)]);
  const number = (field: number, n: number) => [field << 3, ...varint(n)];
  const bytes = (field: number, b: number[]) => [(field << 3) | 2, ...varint(b.length), ...b];
  const text = (field: number, s: string) => bytes(field, [...Buffer.from(s)]);
  const shape = bytes(2, bytes(1, text(2, "n")));
  const value = (name: string) => [
    ...text(1, name),
    ...bytes(2, bytes(1, [...number(1, 1), ...shape])),
  ];
  const node = [...text(1, "x"), ...text(1, "x"), ...text(2, "y"), ...text(4, "Add")];
  const graph = [
    ...bytes(1, node),
    ...text(2, "g"),
    ...bytes(11, value("x")),
    ...bytes(12, value("y")),
  ];
  return new Uint8Array([...number(1, 8), ...bytes(7, graph), ...bytes(8, number(2, 13))]);
}
