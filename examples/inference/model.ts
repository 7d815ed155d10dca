/**
 * Writes `model.onnx`: a classifier that says which of ten points, the centres, each of its inputs is nearest to. A model that was
 * trained would come from elsewhere; this one can be checked by hand.
 *
 * |x - c|² = |x|² - 2 x·c + |c|², so that the nearest centre is that with the largest 2 x·c - |c|²: a product with a matrix and a sum.
 * The softmax of these scores are the probabilities of the classes.
 */

export const FEATURES = 16;
export const CLASSES = 10;
/** What ONNX calls the type of a tensor of 32-bit floats. */
const FLOAT = 1;

/** The centre of each class: spread out, and the same in every run. */
export const centres: readonly Float32Array[] = Array.from({ length: CLASSES }, (_, k) =>
  Float32Array.from({ length: FEATURES }, (_, i) => Math.sin(7 * k + 3 * i + k * i)),
);

if (import.meta.main) {
  const bytes = classifier();
  await Bun.write(new URL("./model.onnx", import.meta.url), bytes);
  console.log(`wrote model.onnx: ${bytes.length} bytes`);
}

/** The model as ONNX's protocol buffers say it. The numbers are those of the fields of onnx.proto. */
function classifier(): Uint8Array<ArrayBuffer> {
  const weights = new Float32Array(FEATURES * CLASSES);
  const offsets = new Float32Array(CLASSES);
  for (const [k, centre] of centres.entries()) {
    for (const [i, value] of centre.entries()) weights[i * CLASSES + k] = 2 * value;
    offsets[k] = -centre.reduce((sum, value) => sum + value * value, 0);
  }
  const graph = [
    ...message(1, operation("MatMul", ["points", "weights"], "products")),
    ...message(1, operation("Add", ["products", "offsets"], "scores")),
    ...message(1, operation("Softmax", ["scores"], "probabilities")),
    ...text(2, "nearest-centre"),
    ...message(5, tensor("weights", [FEATURES, CLASSES], weights)),
    ...message(5, tensor("offsets", [CLASSES], offsets)),
    ...message(11, matrix("points", FEATURES)),
    ...message(12, matrix("probabilities", CLASSES)),
  ];
  return new Uint8Array([
    ...integer(1, 8), // the version of the format
    ...message(7, graph),
    ...message(8, integer(2, 13)), // the version of the operators
  ]);
}

function operation(type: string, inputs: readonly string[], output: string): number[] {
  return [...inputs.flatMap((name) => text(1, name)), ...text(2, output), ...text(4, type)];
}

function tensor(name: string, dimensions: readonly number[], values: Float32Array): number[] {
  const raw = [...new Uint8Array(values.buffer)];
  return [
    ...dimensions.flatMap((size) => integer(1, size)),
    ...integer(2, FLOAT),
    ...text(8, name),
    ...message(9, raw),
  ];
}

/** An input or output: as many rows as the caller has, of so many floats. */
function matrix(name: string, columns: number): number[] {
  const shape = [...message(1, text(2, "batch")), ...message(1, integer(1, columns))];
  const type = message(1, [...integer(1, FLOAT), ...message(2, shape)]);
  return [...text(1, name), ...message(2, type)];
}

function varint(n: number): number[] {
  return n < 128 ? [n] : [(n & 127) | 128, ...varint(n >>> 7)];
}
function integer(field: number, n: number): number[] {
  return [field << 3, ...varint(n)];
}
function message(field: number, bytes: readonly number[]): number[] {
  return [(field << 3) | 2, ...varint(bytes.length), ...bytes];
}
function text(field: number, value: string): number[] {
  return message(field, [...Buffer.from(value)]);
}
