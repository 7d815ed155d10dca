/**
 * Compiles a shape to code that writes its values. What it makes is a function of one run through the value: it reads each property
 * by its name, and gives up, with -1, at the first part that is not of the shape, or that would not arrive as it is. What the value
 * lacks or has too much is then for the encoder of MessagePack to say. Nothing is refused here but a part of no known shape, which
 * that encoder writes.
 *
 * Code, and not closures, because the engine then knows each property, place and constant. It runs where TypeBox is compiled to code,
 * too. Names come from the author of the schema, and stand in the code as JSON and nowhere else.
 */
import { types } from "node:util";
import { disguised, oddityOfArray } from "./oddities.ts";
import {
  type Constant,
  type Property,
  type Shape,
  type ShapeSink,
  mayBeUndefined,
} from "./shape.ts";

/** Writes a value from `at` on. Returns its end, -1 when the value is not of the shape. */
export type WriteShape = (sink: ShapeSink, value: unknown, at: number) => number;

/** More constants than this are found by a table. */
const FEW = 8;

/** What the code calls. */
const HELPERS = {
  prototypeOf: Object.getPrototypeOf,
  plain: Object.prototype,
  list: Array.prototype,
  date: Date.prototype,
  isArray: Array.isArray,
  isDate: types.isDate,
  keysOf: Object.keys,
  allKeysOf: Reflect.ownKeys,
  has: Object.hasOwn,
  disguised,
  oddityOfArray,
  choiceOf: (choices: ReadonlyMap<unknown, number>, value: unknown): number =>
    Object.is(value, -0) ? -1 : (choices.get(value) ?? -1),
};

export function compileWriter(shape: Shape): WriteShape {
  const writer = new WriterCode();
  writer.block(shape, "value", undefined, "return -1;", []);
  const names = [...Object.keys(HELPERS), "tables"];
  // oxlint-disable-next-line typescript/no-implied-eval -- all that is not ours in it is JSON
  const make = new Function(
    ...names,
    `"use strict";
    return function writeShape(sink, value, start) {
      let at = start, bytes = sink.bytes, words = sink.words, bound = sink.bound;
      ${writer.lines.join("\n")}
      return at;
    };`,
  );
  return make(...Object.values(HELPERS), writer.tables) as WriteShape;
}

/** Writes what has a fixed place, given the name of the variable that says where the block begins. */
type Fixed = (block: string) => string;

/** A block, while its value is read. */
interface Open {
  readonly fixed: Fixed[];
  /** Bytes that these take. */
  size: number;
  /** Write what is behind them, and look whether a container is still what it was, in the order of the parts. */
  readonly behind: (() => void)[];
}

/** The containers that a part stands in, from the outermost on, with the key of what they have there. */
type Way = readonly { readonly container: string; readonly key: string }[];

const RELOAD = "bytes = sink.bytes; words = sink.words; bound = sink.bound;";

class WriterCode {
  readonly lines: string[] = [];
  readonly tables: ReadonlyMap<unknown, number>[] = [];
  #names = 0;

  /** `missing` is true for a value that is undefined because it is not there; `fail` is what to do with one of another shape. */
  block(shape: Shape, value: string, missing: string | undefined, fail: string, way: Way): void {
    const open: Open = { fixed: [], size: 0, behind: [] };
    this.#read(open, shape, value, missing, fail, way);
    if (open.size > 0) {
      const block = this.#name();
      this.#makeRoom(`${open.size}`);
      this.#add(`const ${block} = at; at += ${open.size};`);
      for (const write of open.fixed) this.#add(write(block));
    }
    for (const write of open.behind) write();
  }

  #add(line: string): void {
    this.lines.push(line);
  }

  #name(): string {
    return `v${this.#names++}`;
  }

  #makeRoom(bytes: string): void {
    this.#add(`if (at + ${bytes} > bound) { sink.makeRoom(at, ${bytes}); ${RELOAD} }`);
  }

  /** Reads a value and everything of a known place in it. */
  #read(
    open: Open,
    shape: Shape,
    expression: string,
    missing: string | undefined,
    fail: string,
    way: Way,
  ): void {
    const value = this.#name();
    this.#add(`const ${value} = ${expression};`);
    if (missing !== undefined && mayBeUndefined(shape))
      this.#add(`if (${value} === undefined && ${missing}) ${fail}`);
    const refuseUnless = (type: string) => this.#add(`if (typeof ${value} !== "${type}") ${fail}`);
    switch (shape.type) {
      case "number":
        refuseUnless("number");
        return this.#fix(open, 8, (place) => `words.setFloat64(${place}, ${value}, true);`);
      case "boolean":
        refuseUnless("boolean");
        return this.#fix(open, 1, (place) => `bytes[${place}] = ${value} ? 1 : 0;`);
      case "date": {
        const ms = this.#name();
        this.#addObjectTest(value, "date", "isDate", fail);
        this.#add(`if (allKeysOf(${value}).length > 0) ${fail}`);
        this.#add(`const ${ms} = ${value}.getTime(); if (${ms} !== ${ms}) ${fail}`);
        return this.#fix(open, 8, (place) => `words.setFloat64(${place}, ${ms}, true);`);
      }
      case "constant":
        return this.#readConstant(open, shape.values, value, fail);
      case "string":
        refuseUnless("string");
        open.behind.push(() => {
          this.#add(`at = sink.writeText(${value}, at); if (at < 0) ${fail} ${RELOAD}`);
        });
        return;
      case "any":
        open.behind.push(() => {
          for (const [i, { container, key }] of way.entries())
            this.#add(`sink.enterShaped(${i}, ${container}, ${key});`);
          this.#add(`at = sink.writePart(${value}, at, ${way.length}); ${RELOAD}`);
        });
        return;
      case "list":
        this.#addObjectTest(value, "list", "isArray", fail);
        open.behind.push(() => this.#writeList(shape.items, value, fail, way));
        return;
      case "tuple": {
        const { items } = shape;
        this.#addObjectTest(value, "list", "isArray", fail);
        this.#add(`if (${value}.length !== ${items.length}) ${fail}`);
        for (const [i, item] of items.entries()) {
          const within = [...way, { container: value, key: `${i}` }];
          this.#read(open, item, `${value}[${i}]`, `!has(${value}, ${i})`, fail, within);
        }
        open.behind.push(() => this.#addArrayEnd(value, `${items.length}`, fail));
        return;
      }
      case "object":
        return this.#readObject(open, shape.properties, value, fail, way);
      case "either":
        open.behind.push(() => this.#writeEither(shape.of, value, fail, way));
        return;
    }
  }

  #fix(open: Open, size: number, write: (place: string) => string): void {
    const offset = open.size;
    open.fixed.push((block) => write(`${block} + ${offset}`));
    open.size += size;
  }

  /** The prototype is what it is to be, and so is what lies beneath. */
  #addObjectTest(value: string, prototype: string, is: string, fail: string): void {
    this.#add(
      `if (typeof ${value} !== "object" || ${value} === null || prototypeOf(${value}) !== ${prototype} || !${is}(${value})) ${fail}`,
    );
  }

  #addArrayEnd(value: string, length: string, fail: string): void {
    this.#add(`if (oddityOfArray(${value}, ${length}) !== undefined) ${fail}`);
  }

  #readConstant(open: Open, values: readonly Constant[], value: string, fail: string): void {
    const choice = this.#name();
    if (values.length === 1) return this.#add(`if (!(${equals(value, values[0])})) ${fail}`);
    if (values.length <= FEW) {
      const choices = values.map((one, i) => `${equals(value, one)} ? ${i} : `).join("");
      this.#add(`const ${choice} = ${choices}-1;`);
    } else {
      this.#add(`const ${choice} = choiceOf(tables[${this.tables.length}], ${value});`);
      this.tables.push(new Map(values.map((one, i) => [one, i])));
    }
    this.#add(`if (${choice} < 0) ${fail}`);
    this.#fix(open, 1, (place) => `bytes[${place}] = ${choice};`);
  }

  #writeList(items: Shape, value: string, fail: string, way: Way): void {
    const [length, i] = [this.#name(), this.#name()];
    this.#add(`const ${length} = ${value}.length;`);
    this.#makeRoom("4");
    this.#add(`words.setUint32(at, ${length}, true); at += 4;`);
    this.#add(`for (let ${i} = 0; ${i} < ${length}; ${i}++) {`);
    const within = [...way, { container: value, key: i }];
    this.block(items, `${value}[${i}]`, `!has(${value}, ${i})`, fail, within);
    this.#add("}");
    this.#addArrayEnd(value, length, fail);
  }

  #readObject(
    open: Open,
    properties: readonly Property[],
    value: string,
    fail: string,
    way: Way,
  ): void {
    this.#add(
      `if (typeof ${value} !== "object" || ${value} === null || prototypeOf(${value}) !== plain) ${fail}`,
    );
    const keys = this.#name();
    this.#add(`const ${keys} = keysOf(${value});`);
    const there = this.#addKeysTest(properties, value, keys, fail);
    for (const [i, { name, shape }] of properties.entries()) {
      const property = `${value}[${JSON.stringify(name)}]`;
      const missing = `!has(${value}, ${JSON.stringify(name)})`;
      const within = [...way, { container: value, key: JSON.stringify(name) }];
      const isThere = there[i];
      if (isThere === undefined) {
        this.#read(open, shape, property, missing, fail, within);
        continue;
      }
      this.#fix(open, 1, (place) => `bytes[${place}] = ${isThere} ? 1 : 0;`);
      open.behind.push(() => {
        this.#add(`if (${isThere}) {`);
        this.block(shape, property, missing, fail, within);
        this.#add("}");
      });
    }
    // It may have properties that are hidden, or named by symbols.
    open.behind.push(() => this.#add(`if (allKeysOf(${value}).length !== ${keys}.length) ${fail}`));
  }

  /** An object arrives with its properties in their order, so it must have them in the order of the shape. */
  #addKeysTest(
    properties: readonly Property[],
    value: string,
    keys: string,
    fail: string,
  ): readonly (string | undefined)[] {
    const isKey = (at: string, name: string) => `${keys}[${at}] === ${JSON.stringify(name)}`;
    if (properties.every(({ optional }) => !optional)) {
      const tests = properties.map(({ name }, i) => isKey(`${i}`, name));
      this.#add(`if (!(${keys}.length === ${properties.length} && ${tests.join(" && ")})) ${fail}`);
      return [];
    }
    const at = this.#name();
    // What only seems to be a plain object has no properties of its own.
    this.#add(`if (${keys}.length === 0 && disguised(${value}) !== undefined) ${fail}`);
    this.#add(`let ${at} = 0;`);
    const there = properties.map(({ name, optional }) => {
      if (!optional) {
        this.#add(`if (!(${isKey(at, name)})) ${fail} ${at}++;`);
        return undefined;
      }
      const isThere = this.#name();
      this.#add(`const ${isThere} = ${isKey(at, name)}; if (${isThere}) ${at}++;`);
      return isThere;
    });
    this.#add(`if (${at} !== ${keys}.length) ${fail}`);
    return there;
  }

  /** Tries one after the other. */
  #writeEither(of: readonly Shape[], value: string, fail: string, way: Way): void {
    const [start, all] = [this.#name(), this.#name()];
    this.#makeRoom("1");
    this.#add(`const ${start} = at;`);
    this.#add(`${all}: {`);
    for (const [i, shape] of of.entries()) {
      const one = this.#name();
      this.#add(`${one}: { at = ${start} + 1;`);
      this.block(shape, value, undefined, `break ${one};`, way);
      this.#add(`bytes[${start}] = ${i}; break ${all}; }`);
    }
    this.#add(`${fail} }`);
  }
}

/** Not -0 where 0 is meant: it would arrive as 0. */
function equals(value: string, constant: Constant): string {
  if (constant === 0) return `(${value} === 0 && 1 / ${value} > 0)`;
  return `${value} === ${constant === undefined ? "undefined" : JSON.stringify(constant)}`;
}
