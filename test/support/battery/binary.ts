/** Typed arrays, buffers, Buffers. */
import { Battery } from "./sample.ts";

const battery = new Battery();
const { equal, refused } = battery;

// ---- binary ----

const TYPES = [
  ...[Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array],
  ...[Uint32Array, Float16Array, Float32Array, Float64Array],
] as const;
for (const type of TYPES) {
  equal(`a ${type.name} of none`, () => new type(0));
  equal(`a ${type.name}`, () => new type([0, 1, 2, 255, 1000]));
  equal(`a part of a ${type.name}, behind a text`, () => [
    "odd",
    new type(8).fill(7).subarray(3, 6),
  ]);
  refused(
    `a subclass of ${type.name}`,
    () => new (class Sub extends (type as typeof Int8Array) {})(2),
  );
  refused(
    `a ${type.name} with a property`,
    () => Object.assign(new type(100), { unit: "m" }),
    "/unit",
  );
}
for (const type of [BigInt64Array, BigUint64Array]) {
  equal(`a ${type.name}`, () => new type([0n, 1n, 2n ** 63n - 1n]));
  equal(`a ${type.name} behind a text`, () => ["odd", new type(2)]);
}
equal("the bits of NaN", () => new Float64Array(new BigUint64Array([0x7ff8dead_beef0001n]).buffer));
equal("the bits of short NaN", () => new Float32Array(new Uint32Array([0x7fc0beef]).buffer));
equal("zeroes with signs, and numbers that are not normal", () => new Float64Array([-0, 5e-324]));
equal("a million elements", () => new Float64Array(1_000_000).fill(1 / 3));
refused(
  "a long typed array with a symbol",
  () => Object.assign(new Float32Array(1_000_000), { [Symbol("s")]: 1 }),
  "/Symbol(s)",
);
for (const length of [0, 1, 255, 256, 65535, 65536])
  equal(`${length} bytes`, () => new Uint8Array(length).fill(length));
equal("an array buffer", () => new Uint8Array([1, 2, 3]).buffer);
equal("an empty array buffer", () => new ArrayBuffer(0));
equal("two views of one buffer", () => {
  const buffer = new ArrayBuffer(16);
  return [new Uint8Array(buffer, 0, 4), new Float64Array(buffer)];
});
equal("a Buffer", () => Buffer.from("text"));
equal("an empty Buffer", () => Buffer.alloc(0));
equal("a part of a Buffer", () => ({ part: Buffer.from("a longer text").subarray(2, 5) }));
equal("a view of WebAssembly's memory", () => {
  const { buffer } = new WebAssembly.Memory({ initial: 1 });
  return new Uint8Array(buffer, 8, 16);
});
refused("a subclass of Buffer", () =>
  Object.setPrototypeOf(Buffer.from("x"), Object.create(Buffer.prototype)),
);
refused("a Buffer with a property", () => Object.assign(Buffer.from("x"), { name: 1 }), "/name");
refused("an array buffer that can be resized", () => new ArrayBuffer(4, { maxByteLength: 8 }));
refused(
  "a view that follows its buffer",
  () => new Uint8Array(new ArrayBuffer(4, { maxByteLength: 8 })),
);
refused("a fixed view of a buffer that can be resized", () => {
  return new Uint8Array(new ArrayBuffer(4, { maxByteLength: 8 }), 1, 2);
});
refused("a view beyond its shrunk buffer", () => {
  const buffer = new ArrayBuffer(8, { maxByteLength: 8 });
  const view = new Uint8Array(buffer, 4, 4);
  buffer.resize(2);
  return view;
});
refused("shared memory", () => new SharedArrayBuffer(4));
refused("shared memory that can grow", () => new SharedArrayBuffer(4, { maxByteLength: 8 }));
refused("a view of shared memory", () => new Int32Array(new SharedArrayBuffer(8)));
refused("a detached buffer", () => {
  const buffer = new ArrayBuffer(8);
  buffer.transfer();
  return buffer;
});
refused("a view of a detached buffer", () => {
  const view = new Float32Array(4);
  view.buffer.transfer();
  return view;
});
refused("a data view", () => new DataView(new ArrayBuffer(8), 2, 4));
refused("a subclass of array buffers", () => new (class Sub extends ArrayBuffer {})(4));
refused(
  "an array buffer with a property",
  () => Object.assign(new ArrayBuffer(4), { unit: 1 }),
  "/unit",
);
refused("a buffer that is none", () => Object.create(ArrayBuffer.prototype));
refused("a typed array that is none", () => Object.create(Uint8Array.prototype));
refused("a typed array that pretends to be of another type", () =>
  Object.setPrototypeOf(new Float32Array(2), Float64Array.prototype),
);
refused("bytes that pretend to be a Buffer of numbers", () =>
  Object.setPrototypeOf(new Int8Array(2), Buffer.prototype),
);
refused("a typed array that looks plain", () =>
  Object.setPrototypeOf(new Uint8Array(2), Object.prototype),
);
refused("a typed array without a prototype", () => Object.setPrototypeOf(new Uint8Array(2), null));
for (const [name, value] of [
  ["length", 100],
  ["byteLength", 100],
  ["byteOffset", 8],
  ["buffer", new ArrayBuffer(100)],
] as const) {
  const lie = (array: object) => () => Object.defineProperty(array, name, { value });
  refused(`bytes that lie about their ${name}`, lie(new Uint8Array(4)), `/${name}`);
  refused(`a Buffer that lies about its ${name}`, lie(Buffer.alloc(4)), `/${name}`);
  refused(`numbers that lie about their ${name}`, lie(new Float64Array(4)), `/${name}`);
}
refused("a proxy of a typed array", () => new Proxy(new Uint8Array(2), {}));

export const BINARY = battery.samples;
