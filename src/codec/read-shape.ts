/**
 * Compiles a shape to code that reads its values: the counterpart of `write-shape.ts`. The bytes may come from anyone, so the code
 * checks each block and length against the bytes that remain, and each choice against those that there are. What it reads is of the
 * shape; whether it is right is for the schema to say.
 */
import { type Constant, type Property, type Shape, type ShapeSource, fixedBytes } from "./shape.ts";

/** Reads a value from `at` to the end of the source, which it must fill. Throws `Refusal`. */
export type ReadShape = (source: ShapeSource, at: number) => unknown;

export function compileReader(shape: Shape): ReadShape {
  const reader = new ReaderCode();
  const value = reader.block(shape, 0);
  // oxlint-disable-next-line typescript/no-implied-eval -- all that is not ours in it is JSON
  const make = new Function(
    "tables",
    `"use strict";
    return function readShape(source, start) {
      const bytes = source.bytes, words = source.words, end = source.end;
      let at = start;
      ${reader.lines.join("\n")}
      if (at !== end) source.damaged();
      return ${value};
    };`,
  );
  return make(reader.tables) as ReadShape;
}

class ReaderCode {
  readonly lines: string[] = [];
  /** Constants, by their number. */
  readonly tables: (readonly Constant[])[] = [];
  #names = 0;

  /** Returns the expression that makes the value, once the lines have run. */
  block(shape: Shape, depth: number): string {
    const size = fixedBytes(shape);
    const block = this.#name();
    if (size > 0) {
      this.#need(`${size}`);
      this.#add(`const ${block} = at; at += ${size};`);
    }
    return this.#read(shape, block, { at: 0 }, depth);
  }

  #add(line: string): void {
    this.lines.push(line);
  }

  #name(): string {
    return `v${this.#names++}`;
  }

  #need(bytes: string): void {
    this.#add(`if (end - at < ${bytes}) source.damaged();`);
  }

  #read(shape: Shape, block: string, offset: { at: number }, depth: number): string {
    const place = `${block} + ${offset.at}`;
    const value = this.#name();
    switch (shape.type) {
      case "number":
        offset.at += 8;
        this.#add(`const ${value} = words.getFloat64(${place}, true);`);
        return value;
      case "date":
        offset.at += 8;
        this.#add(`const ${value} = new Date(words.getFloat64(${place}, true));`);
        this.#add(`if (Number.isNaN(${value}.getTime())) source.damaged();`);
        return value;
      case "boolean":
        offset.at += 1;
        this.#add(`const ${value} = bytes[${place}]; if (${value} > 1) source.damaged();`);
        return `${value} === 1`;
      case "constant": {
        const { values } = shape;
        if (values.length === 1) return textOf(values[0]);
        offset.at += 1;
        this.#add(`const ${value} = bytes[${place}];`);
        this.#add(`if (${value} >= ${values.length}) source.damaged();`);
        return `tables[${this.tables.push(values) - 1}][${value}]`;
      }
      case "string":
        this.#add(`const ${value} = source.readText(at); at = source.at;`);
        return value;
      case "any":
        this.#add(`const ${value} = source.readPart(at, ${depth}); at = source.at;`);
        return value;
      case "list":
        return this.#readList(shape.items, value, depth + 1);
      case "tuple": {
        const items = shape.items.map((item) => this.#read(item, block, offset, depth + 1));
        return `[${items.join(", ")}]`;
      }
      case "object":
        return this.#readObject(shape.properties, value, block, offset, depth + 1);
      case "either": {
        const { of } = shape;
        this.#need("1");
        this.#add(`let ${value}; switch (bytes[at++]) {`);
        for (const [i, one] of of.entries()) {
          this.#add(`case ${i}: {`);
          this.#add(`${value} = ${this.block(one, depth)}; break; }`);
        }
        this.#add("default: source.damaged(); }");
        return value;
      }
    }
  }

  /** An item takes a byte at least (`schema/shapes.ts`), so there are no more of them than bytes. */
  #readList(items: Shape, value: string, depth: number): string {
    const [length, i] = [this.#name(), this.#name()];
    this.#need("4");
    this.#add(`const ${length} = words.getUint32(at, true); at += 4;`);
    this.#add(`const ${value} = [];`);
    this.#add(`for (let ${i} = 0; ${i} < ${length}; ${i}++) {`);
    this.#add(`${value}.push(${this.block(items, depth)}); }`);
    return value;
  }

  #readObject(
    properties: readonly Property[],
    value: string,
    block: string,
    offset: { at: number },
    depth: number,
  ): string {
    const parts = properties.map(({ optional, shape }) => {
      if (!optional) return { isThere: undefined, part: this.#read(shape, block, offset, depth) };
      const [isThere, part] = [this.#name(), this.#name()];
      this.#add(`const ${isThere} = bytes[${block} + ${offset.at++}];`);
      this.#add(`if (${isThere} > 1) source.damaged();`);
      this.#add(`let ${part}; if (${isThere} === 1) {`);
      this.#add(`${part} = ${this.block(shape, depth)}; }`);
      return { isThere, part };
    });
    const named = parts.map((part, i) => ({ ...part, name: JSON.stringify(properties[i]!.name) }));
    const first = named.findIndex(({ isThere }) => isThere !== undefined);
    const literal = (of: typeof named) =>
      `{ ${of.map(({ name, part }) => `${name}: ${part}`).join(", ")} }`;
    if (first < 0) return literal(named);
    this.#add(`const ${value} = ${literal(named.slice(0, first))};`);
    for (const { isThere, name, part } of named.slice(first))
      this.#add(
        `${isThere === undefined ? "" : `if (${isThere} === 1) `}${value}[${name}] = ${part};`,
      );
    return value;
  }
}

function textOf(constant: Constant): string {
  return constant === undefined ? "undefined" : JSON.stringify(constant);
}
