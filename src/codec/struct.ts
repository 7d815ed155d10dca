/**
 * Structs of fixed numeric fields and arrays, in the layout that C would give them: natural alignment, little endian. A view
 * reads and writes them in place, without encoding.
 */
import { STRUCT_BRAND, isBranded } from "../base/brand.ts";
import { Refusal, messageOf, pointer } from "./refusal.ts";

const TYPES = {
  f64: Float64Array,
  f32: Float32Array,
  i64: BigInt64Array,
  u64: BigUint64Array,
  i32: Int32Array,
  u32: Uint32Array,
  i16: Int16Array,
  u16: Uint16Array,
  i8: Int8Array,
  u8: Uint8Array,
} as const;

/** The type of a number in memory. */
export type Scalar = keyof typeof TYPES;
/** A field: one number, or as many as the array says. */
export type StructField = Scalar | readonly [Scalar, number];
export type StructFields = Readonly<Record<string, StructField>>;

type ArrayOf<Type extends Scalar> = InstanceType<(typeof TYPES)[Type]>;
type NumberOf<Type extends Scalar> = Type extends "i64" | "u64" ? bigint : number;

/** A struct in memory: numbers are read and written by their names, arrays are typed arrays over the same bytes. */
export type StructView<Fields extends StructFields> = {
  -readonly [
    Name in keyof Fields as Fields[Name] extends Scalar ? Name : never
  ]: Fields[Name] extends Scalar ? NumberOf<Fields[Name]> : never;
} & {
  readonly [
    Name in keyof Fields as Fields[Name] extends Scalar ? never : Name
  ]: Fields[Name] extends readonly [infer Type extends Scalar, number] ? ArrayOf<Type> : never;
};

/** A struct as a plain object: what a caller may pass, arrays being typed arrays or arrays of numbers. */
export type StructValue<Fields extends StructFields> = {
  readonly [Name in keyof Fields]: Fields[Name] extends Scalar
    ? NumberOf<Fields[Name]>
    : Fields[Name] extends readonly [infer Type extends Scalar, number]
      ? ArrayOf<Type> | readonly NumberOf<Type>[]
      : never;
};

/** A struct that was copied out of memory: arrays are typed arrays of their own. */
export type StructCopy<Fields extends StructFields> = {
  -readonly [Name in keyof Fields]: Fields[Name] extends Scalar
    ? NumberOf<Fields[Name]>
    : Fields[Name] extends readonly [infer Type extends Scalar, number]
      ? ArrayOf<Type>
      : never;
};

interface Member {
  name: string;
  type: Scalar;
  /** 0 for a single number. */
  length: number;
  /** In bytes, from the start. */
  offset: number;
}

/** More would not be called by name. */
const MAX_FIELDS = 1024;
const MAX_BYTES = 2 ** 30;
/** Reserved by every object, or by us. */
const FORBIDDEN = new Set(["__proto__", "constructor"]);

/** The layout of a struct, from {@link struct}. */
export class Struct<Fields extends StructFields = StructFields> {
  readonly [STRUCT_BRAND] = true;
  readonly fields: Fields;
  /** How much memory one takes. */
  readonly byteLength: number;
  readonly #members: readonly Member[];
  readonly #view: ViewClass;

  constructor(fields: Fields) {
    this.fields = Object.freeze({ ...fields });
    this.#members = layOut(fields);
    const last = this.#members.at(-1)!;
    const align = Math.max(...this.#members.map(({ type }) => TYPES[type].BYTES_PER_ELEMENT));
    this.byteLength = Math.ceil((last.offset + bytesOf(last)) / align) * align;
    this.#view = viewClass(this.#members);
  }

  /** Where a field begins, in bytes from the start. */
  offsetOf(name: keyof Fields & string): number {
    return this.#members.find((member) => member.name === name)!.offset;
  }

  /** A view of the struct that begins at `byteOffset`, a multiple of 8 (of 64, where it is the lease's memory). */
  view(buffer: ArrayBuffer, byteOffset = 0): StructView<Fields> {
    return new this.#view(buffer, byteOffset) as unknown as StructView<Fields>;
  }

  /** Writes a plain object into a view. Throws {@link Refusal} before it has written anything. */
  write(view: StructView<Fields>, value: unknown): void {
    if (typeof value !== "object" || value === null) throw new Refusal("", "expected an object");
    const given = value as Record<string, unknown>;
    const values = this.#members.map((member) => readMember(member, given));
    for (const name of Object.keys(given))
      if (!Object.hasOwn(this.fields, name))
        throw new Refusal(pointer([name]), "the struct has no such field");
    const target = view as unknown as Record<string, unknown>;
    this.#members.forEach(({ name, length }, i) => {
      if (length === 0) target[name] = values[i];
      else (target[name] as Float64Array).set(values[i] as Float64Array);
    });
  }

  /** The values of a view as a plain object, in memory of its own. */
  read(view: StructView<Fields>): StructCopy<Fields> {
    const source = view as unknown as Record<string, unknown>;
    return Object.fromEntries(
      this.#members.map(({ name, length }) => [
        name,
        length === 0 ? source[name] : (source[name] as Float64Array).slice(),
      ]),
    ) as StructCopy<Fields>;
  }
}

/**
 * The layout of a struct: `"f64"`, `"f32"`, `"i64"`, `"u64"`, `"i32"`, `"u32"`, `"i16"`, `"u16"`, `"i8"`, `"u8"`, or a pair of one
 * of these and a length. As in C, every field begins at a multiple of its own size, and numbers that are written wrap as they do
 * in a typed array.
 *
 * @example
 * ```ts
 * const Option = struct({ spot: "f64", strike: "f64", weights: ["f32", 16] });
 * ```
 * @throws {TypeError} no field, an unknown type, a length that is no positive whole number
 */
export function struct<const Fields extends StructFields>(fields: Fields): Struct<Fields> {
  return new Struct(fields);
}

export function isStruct(value: unknown): value is Struct {
  return isBranded(value, STRUCT_BRAND);
}

function bytesOf({ type, length }: Member): number {
  return TYPES[type].BYTES_PER_ELEMENT * Math.max(1, length);
}

function layOut(fields: StructFields): Member[] {
  const names = Object.keys(fields);
  if (names.length === 0 || names.length > MAX_FIELDS)
    throw new TypeError(`a struct has 1 to ${MAX_FIELDS} fields; this one has ${names.length}`);
  const members: Member[] = [];
  let end = 0;
  for (const name of names) {
    const field: unknown = fields[name];
    const [type, length] = Array.isArray(field) ? (field as unknown[]) : [field, 0];
    const known = typeof type === "string" && Object.hasOwn(TYPES, type);
    const sound = typeof length === "number" && Number.isInteger(length) && length >= 0;
    if (!known || !sound || (Array.isArray(field) && (length === 0 || field.length !== 2)))
      throw new TypeError(
        `field "${name}" of a struct must be one of ${Object.keys(TYPES).join(", ")}, or a pair of one and a length`,
      );
    if (FORBIDDEN.has(name)) throw new TypeError(`a field of a struct must not be named ${name}`);
    const size = TYPES[type as Scalar].BYTES_PER_ELEMENT;
    const member = { name, type: type as Scalar, length, offset: Math.ceil(end / size) * size };
    members.push(member);
    end = member.offset + bytesOf(member);
    if (end > MAX_BYTES) throw new TypeError("a struct has at most 1 GiB");
  }
  return members;
}

type ViewClass = new (buffer: ArrayBuffer, byteOffset: number) => object;

/** One typed array for each type of number, over the whole struct; a field is an index into one of them. */
function viewClass(members: readonly Member[]): ViewClass {
  const used = [...new Set(members.filter(({ length }) => length === 0).map(({ type }) => type))];
  const ends = new Map(
    used.map((type) => [
      type,
      Math.max(
        ...members
          .filter((member) => member.type === type && member.length === 0)
          .map(({ offset }) => offset / TYPES[type].BYTES_PER_ELEMENT + 1),
      ),
    ]),
  );
  const arrays = members.filter(({ length }) => length > 0);
  class View {
    constructor(buffer: ArrayBuffer, byteOffset: number) {
      for (const type of used)
        hide(this, slotOf(type), new TYPES[type](buffer, byteOffset, ends.get(type)));
      for (const { name, type, length, offset } of arrays)
        Object.defineProperty(this, name, {
          value: new TYPES[type](buffer, byteOffset + offset, length),
          enumerable: true,
        });
    }
  }
  for (const { name, type, length, offset } of members) {
    if (length > 0) continue;
    const slot = slotOf(type);
    const index = offset / TYPES[type].BYTES_PER_ELEMENT;
    Object.defineProperty(View.prototype, name, {
      enumerable: true,
      get(this: Record<symbol, Float64Array>) {
        return this[slot]![index];
      },
      set(this: Record<symbol, Float64Array>, value: number) {
        this[slot]![index] = value;
      },
    });
  }
  return View;
}

const SLOTS = Object.fromEntries(
  Object.keys(TYPES).map((type) => [type, Symbol(type)]),
) as unknown as Record<Scalar, symbol>;

function slotOf(type: Scalar): symbol {
  return SLOTS[type];
}

function hide(object: object, key: symbol, value: unknown): void {
  Object.defineProperty(object, key, { value });
}

/** What a field is to be. It is read once: a getter may throw, and may give something else the next time. */
function readMember(member: Member, given: Record<string, unknown>): unknown {
  const { name, type } = member;
  try {
    const value = given[name];
    const list = Array.isArray(value) && member.length > 0 ? Array.from<unknown>(value) : value;
    checkMember(member, list);
    return list;
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(pointer([name]), `no ${type}, it cannot be read: ${messageOf(error)}`, error);
  }
}

function checkMember({ name, type, length }: Member, value: unknown): void {
  if (length === 0) {
    const problem = problemOf(type, value);
    if (problem) throw new Refusal(pointer([name]), problem);
    return;
  }
  if (!Array.isArray(value) && !ArrayBuffer.isView(value))
    throw new Refusal(pointer([name]), `expected an array of ${length} numbers`);
  const given = value as unknown as ArrayLike<unknown>;
  if (given.length !== length)
    throw new Refusal(pointer([name]), `expected ${length} numbers, not ${given.length}`);
  if (value instanceof TYPES[type]) return;
  for (let i = 0; i < length; i++) {
    const problem = problemOf(type, given[i]);
    if (problem) throw new Refusal(pointer([name, i]), problem);
  }
}

/** Why a value is no number of this type; undefined when it is one. */
function problemOf(type: Scalar, value: unknown): string | undefined {
  if (type === "i64" || type === "u64") {
    const fits = typeof value === "bigint" && new TYPES[type]([value])[0] === value;
    return fits ? undefined : `expected a bigint that fits ${type}`;
  }
  if (typeof value !== "number") return "expected a number";
  if (type === "f64" || type === "f32" || new TYPES[type]([value])[0] === value) return undefined;
  return `expected a whole number that fits ${type}, not ${value}`;
}
